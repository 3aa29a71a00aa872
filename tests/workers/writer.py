"""A worker that writes: writer.py numbered FORKS COUNT [FILE] | odd | mixed COUNT.

numbered: FORKS processes write COUNT lines "PID NUMBER xxx" each, some of them in pieces with those
of the others between them; then "done", and FILE is made. odd: a line of 1 MB, and garbage. mixed:
lines on stdout and stderr, and the end."""
import os
import random
import sys
import time


def write(text, fd=1):
    while text:
        text = text[os.write(fd, text):]


def numbered(count):
    for number in range(count):
        write(b"%d %d %s\n" % (os.getpid(), number, b"x" * (number * 31 % 300)))


def numbered_in_forks(forks, count, path=None):
    children = []
    for _ in range(int(forks)):
        pid = os.fork()
        if pid == 0:
            numbered(int(count))
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    for piece in (b"do", b"ne", b"\n"):
        write(piece)
        time.sleep(0.01)
    if path:
        with open(path, "wb"):
            pass
    time.sleep(1000)


def odd():
    write(b"y" * (1 << 20) + b"\n")
    write(random.Random(1).randbytes(200000) + b"\n")
    write(b"a\0b\n\r\n\n")
    write(b"done\n")
    time.sleep(1000)


def mixed(count):
    for _ in range(int(count)):
        write(b"x" * 1000 + b"\n", 1)
        write(b"y" * 900 + b"\n", 2)
    write(b"done\n")


{"numbered": numbered_in_forks, "odd": odd, "mixed": mixed}[sys.argv[1]](*sys.argv[2:])

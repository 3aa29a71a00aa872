#!/usr/bin/env python3
"""What capturing the output of workers costs: output-cost.py PREFORKD [SECONDS [LINES_PER_SECOND]]

Four workers write lines of 100 bytes at a given rate altogether, line by line as a server does,
into a pipe that is read all the time. For each mode of `output`: lines that came, lines that are
missing or torn, the CPU time of the master and of the workers."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

WORKERS = 4
TICK = 0.005

WRITER = """
import os, sys, time
seconds, rate = float(sys.argv[1]), float(sys.argv[2])
text, begin, sent = b"x" * 78, time.monotonic(), 0
while (passed := time.monotonic() - begin) < seconds:
    for _ in range(int(passed * rate) - sent):
        os.write(1, b"%08d %10d %s\\n" % (os.getpid(), sent, text))
        sent += 1
    time.sleep({tick})
with open(f"{sys.argv[3]}/{os.getpid()}", "w") as file:
    file.write(str(sent))
time.sleep(1000)
""".replace("{tick}", str(TICK))

LINE = re.compile(rb'(?:\[\S+ \d+\] |\{.*"message":")?\d{8} +\d+ x{78}(?:"\})?')


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_all(pipe, parts):
    while part := os.read(pipe, 1 << 20):
        parts.append(part)


def measure(preforkd, seconds, rate, options):
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = os.pipe()
        parts = []
        master = subprocess.Popen(
            [preforkd, "-q", "--health", "off", "--workers", str(WORKERS), *options, "--",
             sys.executable, "-c", WRITER, str(seconds), str(rate / WORKERS), folder],
            stdin=subprocess.DEVNULL, stdout=theirs)
        os.close(theirs)
        reader = threading.Thread(target=read_all, args=(ours, parts))
        reader.start()
        while len(names := os.listdir(folder)) < WORKERS:
            time.sleep(0.05)
        time.sleep(0.5)
        cpu = cpu_seconds(master.pid), sum(cpu_seconds(name) for name in names)
        sent = 0
        for name in names:
            with open(f"{folder}/{name}", encoding="utf-8") as file:
                sent += int(file.read())
        master.send_signal(signal.SIGTERM)
        master.wait()
        reader.join()
        os.close(ours)
    lines = b"".join(parts).splitlines()
    torn = sum(not LINE.fullmatch(line) for line in lines)
    print(f"{' '.join(options) or '--output inherit':40} {sent / seconds:9.0f} lines/s"
          f" {sent - len(lines):8} missing {torn:3} torn"
          f"   master {100 * cpu[0] / seconds:5.1f} % CPU"
          f" ({1e6 * cpu[0] / max(sent, 1):.2f} us a line), workers {100 * cpu[1] / seconds:5.1f} %")


def main():
    preforkd = os.path.abspath(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10
    rate = float(sys.argv[3]) if len(sys.argv) > 3 else 100000
    for options in ([], ["--output", "tag"], ["--output", "json"],
                    ["--output", "json", "--output-overflow", "drop"]):
        measure(preforkd, seconds, rate, options)


main()

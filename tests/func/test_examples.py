"""The examples: each starts, all its workers serve, a reload loses nothing, it stops."""
import os
import re
import signal
import socket
import subprocess
import sys
import threading

from harness import (BUILD, TOP, Master, ask, check, connect, equal, folder, free_port,
                     need_program, parse_reply, read_all, skip, timeout, wait_until, write)

SYSTEM_PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}


def need_module(name):
    if subprocess.run(["/usr/bin/python3", "-c", f"import {name}"], stderr=subprocess.DEVNULL).returncode:
        skip(f"python3-{name} is not installed")


def example(name, port, **replaced):
    """The text of an example's configuration, with this port and quick times."""
    with open(f"{TOP}/examples/{name}/preforkd.conf", encoding="utf-8") as file:
        text = file.read()
    for old, new in {"8080": str(port), **replaced}.items():
        text = text.replace(old, new)
    return text + "min-uptime = 100ms\n"


def bytes_taken(sock):
    """How much of what was sent has come to the other end: tcpi_bytes_acked, which counts the SYN."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    return int.from_bytes(info[120:128], sys.byteorder) - 1


class Client(threading.Thread):
    """Asks all the time, until stop(), which tells of the first failure. Connections that the
    server closed before it read the request are counted apart."""

    def __init__(self, port):
        super().__init__()
        self.port, self.answers, self.closed, self.error, self.ended = port, 0, 0, None, False
        self.start()

    def ask(self):
        with connect(f"127.0.0.1:{self.port}") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            try:
                first = sock.recv(65536)
                unread = not first and bytes_taken(sock) == 0
            except ConnectionResetError:  # it came, and lay in the socket when that was closed
                unread = True
            if unread:
                self.closed += 1
                return
            equal(parse_reply(first + read_all(sock)).status, 200, "answer")
        self.answers += 1

    def run(self):
        while not self.ended and self.error is None:
            try:
                self.ask()
            except Exception as why:
                self.error = why

    def stop(self, may_close):
        self.ended = True
        self.join()
        check(self.error is None, f"after {self.answers} answers: {self.error}")
        check(self.answers > 0, "no answers")
        check(self.closed <= may_close, f"{self.closed} closed with the request unread")


def drive(name, port=None, pattern=r"hello from slot (\d)", may_close=0, **replaced):
    """Starts an example, sees that each worker answers, and reloads it while it is asked. Of a
    server that when it stops closes connections whose request it has not read, each worker may close
    the one that the client has just opened."""
    need_program(name)
    port = port or free_port()
    with Master(config=example(name, port, **replaced), cwd=TOP, env=SYSTEM_PATH) as m:
        m.wait_ready(60)
        seen = set()

        def all_answered():
            seen.add(re.search(pattern, ask(f"127.0.0.1:{port}")).group(1))
            return len(seen) == 2
        wait_until(all_answered, f"answers of both workers of {name}")
        client = Client(port)
        m.reload(timeout=120)
        client.stop(may_close)


@timeout(180)
def test_node():
    """Node.js"""
    drive("node")


@timeout(180)
def test_gunicorn():
    """gunicorn and Flask"""
    need_module("flask")
    drive("gunicorn")


@timeout(180)
def test_uvicorn():
    """uvicorn"""
    drive("uvicorn", may_close=2)


@timeout(180)
def test_puma():
    """puma"""
    drive("puma", may_close=2)


@timeout(300)
def test_go():
    """Go"""
    go = need_program("go")
    binary = os.path.join(folder(), "server")
    subprocess.run([go, "build", "-o", binary, f"{TOP}/examples/go/main.go"], check=True,
                   env={**os.environ, **SYSTEM_PATH, "GOFLAGS": "-mod=mod", "GO111MODULE": "off",
                        "GOCACHE": f"{BUILD}/tests/go-cache"})
    drive("go", **{"examples/go/server": binary})


@timeout(180)
def test_nginx():
    """nginx"""
    port = free_port()
    with open(f"{TOP}/examples/nginx/nginx.conf", encoding="utf-8") as file:
        text = file.read().replace("8080", str(port)).replace("/tmp/preforkd-", f"{folder()}/")
    write("nginx.conf", text)
    drive("nginx", port, r"hello from process (\d+)", **{"examples/nginx/": f"{folder()}/",
                                                         "/tmp/preforkd-nginx": f"{folder()}/nginx"})


@timeout(180)
def test_redis():
    """Consumers of a queue in redis: every job is done once, also those of a worker that is killed"""
    server, cli = need_program("redis-server"), need_program("redis-cli")
    need_module("redis")
    port = free_port()

    def redis(*command):
        return subprocess.run([cli, "-p", str(port), *command], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL).stdout.strip()
    with subprocess.Popen([server, "--port", str(port), "--save", "", "--dir", folder()],
                          stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: redis("ping") == "PONG", "redis")
            with Master(config=example("redis", port), cwd=TOP,
                        env={**SYSTEM_PATH, "REDIS_PORT": str(port)}) as m:
                m.wait_ready()
                redis("rpush", "jobs", *(f"job{i}" for i in range(500)))
                os.kill(m.workers()[0], signal.SIGKILL)
                m.reload()
                wait_until(lambda: int(redis("llen", "done")) >= 500, "500 jobs done")
                done = [line.split()[0] for line in redis("lrange", "done", "0", "-1").splitlines()]
                equal(set(done), {f"job{i}" for i in range(500)}, "jobs")
        finally:
            process.terminate()

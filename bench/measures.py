"""What is measured. Each measure takes a bench and a peer and returns rows: dictionaries of figures."""
import collections
import contextlib
import json
import mmap
import os
import random
import signal
import socket
import struct
import subprocess
import time

import procs
from peers import BUILD

HAMMER = f"{BUILD}/tests/lib/hammer"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: %s\r\n\r\n"
START_S = 60


class Trouble(Exception):
    """A peer did not do what it was asked for; the text says what."""


class Run:
    """A peer that was started."""
    count = 0

    def __init__(self, bench, peer, n, many=False):
        Run.count += 1
        self.peer, self.n = peer, n
        self.mark = f"{os.getpid()}-{Run.count}"
        self.port = bench.next_port()
        self.folder = os.path.join(bench.folder, self.mark)
        os.makedirs(self.folder)
        self.ledger = Ledger(f"{self.folder}/ledger")
        self.env = {**os.environ, "PORT": str(self.port), "WORKERS": str(n), "HOME": self.folder,
                    "LEDGER": self.ledger.path, procs.MARK: self.mark,
                    # What the tests' server tells, where the supervisor sets nothing of it.
                    "PREFORK_SLOT": "0", "PREFORK_GENERATION": "0"}
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "MAKEFLAGS"):
            self.env.pop(name, None)
        self.env.update(peer.environ(self))
        self.log = open(f"{self.folder}/log", "wb")
        command = [str(word) for word in (peer.many_argv(self) if many else peer.argv(self))]
        self.began = time.monotonic()
        # A session of its own, as a service has: the kernel may schedule by sessions.
        self.process = subprocess.Popen(command, env=self.env, cwd=self.folder, stdout=self.log,
                                        stdin=subprocess.DEVNULL, stderr=self.log,
                                        start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def kill(self, number):
        procs.send(self.pid, number)

    def command(self, argv):
        """Runs a client of the peer."""
        child = subprocess.Popen(argv, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL,
                                 stdout=self.log, stderr=self.log)
        procs.tools.add(child.pid)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        procs.tools.discard(child.pid)

    def processes(self):
        return procs.of_peer(self.pid, self.mark)

    def workers(self):
        return [process.pid for process in self.processes()
                if self.peer.is_worker(process, self) and process.pid != self.pid]

    def supervisors(self):
        workers = set(self.workers())
        return [process.pid for process in self.processes() if process.pid not in workers]

    def wait_ready(self, timeout=START_S):
        end = time.monotonic() + timeout
        while len(self.workers()) < self.n or not ask(self.port):
            if time.monotonic() > end:
                raise Trouble("not ready: " + procs.read(f"{self.folder}/log")[-300:])
            procs.reap()
            time.sleep(0.02)
        return self

    def end(self):
        self.peer.before_end(self)
        left = procs.end(self.processes)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        procs.reap()
        self.log.close()
        if left:
            raise Trouble(f"left behind: {[process.name for process in left]}")


class Ledger:
    """tests/lib/ledger.h"""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(mmap.PAGESIZE)
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def read(self):
        return dict(zip(("started", "accepted", "answered"), struct.unpack_from("3Q", self.map)))


@contextlib.contextmanager
def running(bench, peer, n, ready=True):
    run = Run(bench, peer, min(n, peer.most))
    try:
        if ready:
            run.wait_ready()
            time.sleep(peer.settle)
        yield run
    finally:
        run.end()


# ---- clients ----

def answer_of(sock):
    """The process id in an answer, None when the connection ended before."""
    data = b""
    while not (b"\r\n\r\n" in data and b"pid=" in data and data.endswith(b"\n")):
        part = sock.recv(4096)
        if not part:
            return None
        data += part
    return int(data.split(b"pid=")[1].split()[0])


def ask(port, timeout=2.0):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as sock:
            sock.sendall(REQUEST % b"close")
            return answer_of(sock)
    except OSError:
        return None


class Hammer:
    """tests/lib/hammer, ended by result()."""

    def __init__(self, port, **options):
        argv = [HAMMER, f"127.0.0.1:{port}", *(f"--{key}={value}" for key, value in options.items())]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True)
        procs.tools.add(self.process.pid)

    def result(self, stop=True):
        if stop:
            self.process.send_signal(signal.SIGTERM)
        try:
            text, _ = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
            procs.tools.discard(self.process.pid)
        return json.loads(text)


# ---- crash to serving ----

def kill_and_ask(run, timeout=20):
    """Milliseconds from the kill of the only worker to an answer by its successor."""
    victim = run.workers()[0]
    began = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    while time.perf_counter() < began + timeout:
        answered = ask(run.port)
        if answered and answered != victim:
            return (time.perf_counter() - began) * 1000
        time.sleep(0.0002)
    raise Trouble(f"not back after {timeout} s")


def crash(bench, peers):
    """All peers are up, each with one worker; their workers are killed in turn."""
    with contextlib.ExitStack() as stack:
        runs = []
        for peer in peers:
            with bench.watch("crash", peer):
                runs.append(stack.enter_context(running(bench, peer, 1)))
        for _ in range(bench.count(10)):
            random.shuffle(runs)
            for run in list(runs):
                time.sleep(max(0.02, run.peer.settle / max(1, len(runs)) * 2))
                with bench.watch("crash", run.peer, on_error=lambda run=run: runs.remove(run)):
                    bench.row("crash", run.peer, ms=kill_and_ask(run))


# ---- under load ----

def lost_of(load, ledger):
    """Failures by kind; unaccepted are those that no killed worker had accepted."""
    died = ledger["accepted"] - ledger["answered"] if ledger["accepted"] else None
    return {"ok": load["ok"], "lost": load["failed"], "refused": load["refused"],
            "no_answer": load["timeout"], "p99_ms": load["p99_us"] / 1000,
            "max_ms": load["max_us"] / 1000,
            "unaccepted": None if died is None else max(0, load["failed"] - died)}


def storm(bench, peer):
    """Random workers are killed, one each 300 ms, while clients ask."""
    with running(bench, peer, 4) as run:
        load = Hammer(run.port, clients=16, rate=500, seconds=120, timeout=5000)
        kills, next_at = 0, time.monotonic() + 0.5
        for _ in range(bench.count(60)):
            time.sleep(max(0, next_at - time.monotonic()))
            next_at += 0.3
            workers = run.workers()
            if workers:
                procs.send(random.choice(workers), signal.SIGKILL)
                kills += 1
        time.sleep(3)
        result = load.result()
        bench.row("storm", peer, kills=kills, **lost_of(result, run.ledger.read()))


def wait_replaced(run, old, timeout=30):
    end = time.monotonic() + timeout
    while any(procs.alive(pid) for pid in old) or len(run.workers()) < run.n:
        if time.monotonic() > end:
            raise Trouble(f"a reload took longer than {timeout} s")
        procs.reap()
        time.sleep(0.01)


def reload(bench, peer):
    """Reloads one after the other while clients ask."""
    with running(bench, peer, 4) as run:
        load = Hammer(run.port, clients=16, rate=500, seconds=300, timeout=5000)
        try:
            time.sleep(0.5)
            times = []
            for _ in range(bench.count(5)):
                old, began = run.workers(), time.monotonic()
                peer.reload(run)
                wait_replaced(run, old)
                times.append(time.monotonic() - began)
                time.sleep(peer.reload_pause)
        finally:
            result = load.result()
        bench.row("reload", peer, reloads=len(times), reload_ms=sum(times) / len(times) * 1000,
                  **lost_of(result, run.ledger.read()))


# ---- at rest ----

def idle(bench, peer):
    """What the supervisor's processes need while nothing happens."""
    seconds = 10
    with running(bench, peer, 4) as run:
        time.sleep(3)
        pids = run.supervisors()
        before = procs.usage(pids)
        time.sleep(seconds)
        after = procs.usage(pids)
        bench.row("idle", peer, processes=len(pids), pss_kb=after["pss_kb"], own_kb=after["own_kb"],
                  cpu_us_per_s=(after["cpu_ms"] - before["cpu_ms"]) * 1000 / seconds,
                  wakeups_per_s=(after["switches"] - before["switches"]) / seconds)


def balance(bench, peer):
    """Who has how many of 400 connections that stay open."""
    with running(bench, peer, 8) as run, contextlib.ExitStack() as stack:
        counts = collections.Counter()
        for _ in range(400):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", run.port), 10))
            sock.sendall(REQUEST % b"keep-alive")
            counts[answer_of(sock)] += 1
        most, least = max(counts.values()), min(counts.values()) if len(counts) == 8 else 0
        bench.row("balance", peer, most=most, least=least, most_by_mean=most * 8 / 400)


# ---- throughput ----

def throughput(bench, peers):
    """A new connection for each request, as fast as it goes. All peers are up; each is asked for a
    moment in turn, so that what else the machine does meets all of them."""
    with contextlib.ExitStack() as stack:
        runs = []
        for peer in peers:
            with bench.watch("throughput", peer):
                runs.append(stack.enter_context(running(bench, peer, bench.cpus)))
        for _ in range(bench.count(10)):
            random.shuffle(runs)
            for run in runs:
                supervisors, workers = run.supervisors(), run.workers()
                before = [procs.usage(pids)["cpu_ms"] for pids in (supervisors, workers)]
                result = Hammer(run.port, clients=32, seconds=1).result(stop=False)
                each_us = [(procs.usage(pids)["cpu_ms"] - was) * 1000 / max(1, result["ok"])
                           for pids, was in zip((supervisors, workers), before)]
                bench.row("throughput", run.peer, failed=result["failed"],
                          per_s=result["ok"] / result["seconds"], p99_ms=result["p99_us"] / 1000,
                          supervisor_us=each_us[0], worker_us=each_us[1])


# ---- many workers ----

def many(bench, peer):
    """The time until 1,000 sleepers run, and the memory of what supervises them."""
    n, run = bench.many, None
    try:
        run = Run(bench, peer, n, many=True)
        end = run.began + 120
        while run.ledger.read()["started"] < n and time.monotonic() < end:
            time.sleep(0.002)
        took = (time.monotonic() - run.began) * 1000
        if run.ledger.read()["started"] < n:
            raise Trouble(f"{run.ledger.read()['started']} of {n} after 120 s")
        time.sleep(2)
        used = procs.usage(run.supervisors())
        bench.row("many", peer, n=n, ms=took, pss_kb=used["pss_kb"], cpu_ms=used["cpu_ms"])
    finally:
        if run:
            run.end()


# The ones that take all peers together, and those that take one at a time.
TOGETHER = {"crash": crash, "throughput": throughput}
SINGLE = {"storm": storm, "reload": reload, "idle": idle, "balance": balance, "many": many}
NAMES = ["crash", "storm", "reload", "idle", "balance", "throughput", "many"]

"""Limits of the system: memory, process ids, processes that cannot be killed, and a log that is not
flooded."""
import contextlib
import os
import signal
import time

import proc
from harness import (QUICK, Master, check, connect, diag, equal, matches, need_root, parse_reply,
                     parse_who, read_all, server, skip, stays, timeout, wait_until)

FAST = ["--backoff", "10ms", "--backoff-max", "20ms", "--min-uptime", "50ms"]


def put(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


class ControlGroup:
    """A control group of our own, in version 1 or 2, for one controller."""

    def __init__(self, controller, number=0):
        need_root()
        name = f"preforkd-test-{os.getpid()}-{number}"
        self.v1 = os.path.isdir(f"/sys/fs/cgroup/{controller}")
        self.path = f"/sys/fs/cgroup/{controller}/{name}" if self.v1 else f"/sys/fs/cgroup/{name}"

    def __enter__(self):
        try:
            os.mkdir(self.path)
        except OSError as error:
            skip(f"no control group: {error}")
        return self

    def __exit__(self, kind, value, traceback):
        with contextlib.suppress(OSError):
            put(f"{self.path}/freezer.state", "THAWED")
        with contextlib.suppress(OSError):
            wait_until(lambda: not self.processes(), "an empty control group")
            os.rmdir(self.path)

    def processes(self):
        with open(f"{self.path}/cgroup.procs", encoding="ascii") as file:
            return file.read().split()

    def set(self, name, value):
        try:
            put(f"{self.path}/{name}", value)
        except OSError as error:
            skip(f"{name} cannot be set: {error}")

    def freeze(self, pid):
        put(f"{self.path}/cgroup.procs", str(pid))
        put(f"{self.path}/freezer.state", "FROZEN")

    def wrapper(self):
        return ["/bin/sh", "-c", f"echo $$ >{self.path}/cgroup.procs; exec \"$@\"", "sh"]


def test_out_of_memory():
    """A worker that is killed for want of memory is told from one that somebody kills"""
    hog = ["/bin/sh", "-c", "test $PREFORK_SLOT = 0 && { sleep 0.3; exec tail /dev/zero; }; "
           "exec sleep 1000"]
    with ControlGroup("memory") as group:
        group.set("memory.limit_in_bytes" if group.v1 else "memory.max", "64M")
        with contextlib.suppress(OSError):
            put(f"{group.path}/memory.swap.max", "0")
        with Master("-w", "2", "--ready-delay", "100ms", *FAST, "--", *hog,
                    wrapper=group.wrapper()) as m:
            m.wait_log(r"main\.0\[\d+\]: killed by KILL: the kernel was out of memory", timeout=60)
            m.wait_log(r"main\.0: breaker open", timeout=60)
            start = m.mark()
            victim = wait_until(lambda: [pid for pid in m.workers() if "sleep" in proc.command(pid)],
                                "the other worker")[0]
            os.kill(victim, signal.SIGKILL)
            m.wait_log(r"killed by KILL, not by this master", start)


def test_process_ids():
    """No process id left, then some again: the master waits, keeps the rest, and recovers"""
    with ControlGroup("pids") as group:
        with Master("-w", "3", "-l", "127.0.0.1:0", *FAST, "--", *server(),
                    wrapper=group.wrapper()) as m:
            m.wait_slots(3)
            stays(lambda: True, 0.3, "min-uptime")
            group.set("pids.max", "3")
            start = m.mark()
            os.kill(m.in_slot(0), signal.SIGKILL)
            os.kill(m.in_slot(1), signal.SIGKILL)
            wait_until(lambda: m.count_log(r"cannot start a worker: .*Resource temporarily", start)
                       >= 10, "failed starts")
            equal(len(m.workers()), 2, "one of the two finds room")
            equal(m.count_log(r"breaker open"), 0, "open breakers")
            equal(m.health("/healthz/liveness").status, 200, "liveness")
            group.set("pids.max", "100")
            m.wait_slots(3)




def send_requests(m, count):
    waiting = [connect(m.address(), timeout=40) for _ in range(count)]
    for sock in waiting:
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    return waiting


def answering(waiting):
    """The processes that answer these requests."""
    return {parse_who(parse_reply(read_all(sock)).body).pid for sock in waiting}


@timeout(120)
def test_frozen_workers():
    """Workers that KILL does not end: others serve their queue, until the slot has three of them"""
    with contextlib.ExitStack() as stack:
        groups = [stack.enter_context(ControlGroup("freezer", number)) for number in range(3)]
        if not groups[0].v1:
            skip("KILL ends frozen processes of version 2")
        m = stack.enter_context(Master(
            "-w", "1", "-l", "127.0.0.1:0", "--stop-timeout", "100ms", "--watchdog", "1s", *FAST,
            "--breaker-cooldown", "200ms", "--", *server("--pings=100")))
        m.wait_ready()
        stays(lambda: True, 0.2, "min-uptime")
        start = 0
        for number, group in enumerate(groups):
            worker = int(m.wait_log(r"main\.0\[(\d+)\]: ready", start).group(1))
            start = m.mark()
            group.freeze(worker)
            waiting = send_requests(m, 10)
            m.wait_log(rf"\[{worker}\]: cannot be killed")
            if number < len(groups) - 1:
                answered = answering(waiting)
                check(worker not in answered and len(answered) == 1, f"answers of {answered}")
        m.wait_log(r"breaker open.* 3 processes of this slot cannot be killed")
        matches(m.health("/healthz/liveness").body, r"3 processes of this slot", "liveness")
        equal([len(group.processes()) for group in groups], [1, 1, 1], "frozen processes")
        put(f"{groups[0].path}/freezer.state", "THAWED")
        m.wait_log(r"is gone after all")
        check(worker not in answering(waiting), "an answer of a frozen worker")
        for group in groups:
            put(f"{group.path}/freezer.state", "THAWED")


@timeout(150)
def test_log_is_not_flooded():
    """Many slots that crash fast: fifty lines, then one a minute with their number"""
    seconds = 5 if QUICK else 65
    with Master("-w", "8", "--backoff", "10ms", "--backoff-max", "10ms", "--breaker-failures", "0",
                "--", *server("--crash-start=9")) as m:
        m.wait_log(r"started")
        began, cpu = time.monotonic(), proc.cpu_seconds(m.pid)
        time.sleep(seconds)
        lines = len(m.log().splitlines())
        diag(f"{lines} lines in {seconds} s, "
             f"{100 * (proc.cpu_seconds(m.pid) - cpu) / (time.monotonic() - began):.1f} % CPU")
        check(lines < 150, f"{lines} lines")
        if not QUICK:
            found = matches(m.log(), r"workers failed (\d+) times in the last 60 s, last: slot \d: "
                            r"exited with status 9 after \d+ ms; \d+ log lines left out", "summary")
            check(int(found.group(1)) > 1000, f"{found.group(0)}")
    matches(m.log(), r"workers failed \d+ times", "summary at the end")

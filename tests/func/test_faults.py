"""Workers that are killed, hang, crash and misbehave: what is lost, and how it heals."""
import os
import random
import re
import resource
import signal
import socket
import subprocess
import time

import proc
from harness import (QUICK, Hammer, Master, as_nobody, check, connect, diag, equal,
                     expect_queue_survives, folder, matches, need_program, need_root, read_all,
                     server, stays, timeout, wait_until, write)


@timeout(180)
def test_kill_storm():
    """SIGKILL of one of 8 workers every 100 ms under load: 0 refused, failures <= kills"""
    seconds, kills = 10 if QUICK else 60, 0
    with Master("-w", "8", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--backoff", "5ms",
                "--backoff-max", "20ms", "--breaker-failures", "0", "--", *server("--serial")) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=32, rate=2000, seconds=120) as load:
            end = time.monotonic() + seconds
            while (now := time.monotonic()) < end:
                workers = m.workers()
                if workers:
                    os.kill(random.choice(workers), signal.SIGKILL)
                    kills += 1
                time.sleep(max(0, 0.1 - (time.monotonic() - now)))
            wait_until(lambda: len(m.workers()) == 8, "8 workers")
            result = load.show()
        diag(f"{kills} kills in {seconds} s: {result['failed']} failed, "
             f"{result['failed'] / max(kills, 1):.2f} a kill")
        check(kills > seconds * 5, "the test killed too few")
        equal(result["refused"], 0, "refused")
        equal(result["timeout"] + result["bad"] + result["other"], 0, "timeouts and bad answers")
        check(result["failed"] <= kills, f"{result['failed']} failed for {kills} kills")
        m.wait_slots(8)


def test_queue_survives():
    """100 requests queued at a stopped worker, which is killed: its successor answers them"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        expect_queue_survives(m, m.port())


def test_all_killed_at_once():
    """All workers killed at once: all come back, nothing is refused"""
    with Master("-w", "8", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        old = m.wait_table(8)
        with Hammer(m.address(), clients=8, rate=300, seconds=60) as load:
            for who in old:
                os.kill(who.pid, signal.SIGKILL)
            wait_until(lambda: not {who.pid for who in old} & set(m.workers()) and
                       len(m.workers()) == 8, "8 replacements")
            m.wait_slots(8)
            equal(load.show()["refused"], 0, "refused")


def test_exit_zero_is_replaced():
    """A worker that ends by itself with status 0 is replaced as well"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        old = m.in_slot(0)
        with connect(m.address()) as sock:
            sock.sendall(b"GET /exit HTTP/1.1\r\n\r\n")
            read_all(sock)
        wait_until(lambda: m.in_slot(0) != old, "a replacement")
        matches(m.log(), rf"\[{old}\]: exited with status 0", "log")


def test_stable_worker_restarts_at_once():
    """A worker that was ready and stable is restarted at once, without backoff"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "100ms", "--backoff", "1h",
                "--backoff-max", "1h", "--", *server()) as m:
        m.wait_ready()
        m.who()
        stays(lambda: m.is_ready(), 0.5, "readiness")
        for _ in range(3):
            old = m.in_slot(0)
            os.kill(old, signal.SIGKILL)
            new = wait_until(lambda: m.in_slot(0) != old and m.in_slot(0), "a replacement")
            m.wait_log(rf"\[{new}\]: ready after")
            stays(lambda: True, 0.3, "min-uptime")


def test_backoff_grows():
    """A crash loop backs off: 100, 200, 400, 800 ms with 10 % jitter, at most backoff-max"""
    with Master("-w", "1", "--backoff", "100ms", "--backoff-max", "500ms", "--breaker-failures", "0",
                "--", *server("--crash-start=9")) as m:
        m.wait_log(r"failed start number 5")
        waits = [int(ms) for ms in re.findall(r"next start in (\d+) ms", m.log())][:5]
        for got, wanted in zip(waits, (100, 200, 400, 500, 500)):
            check(wanted * 0.89 <= got <= wanted * 1.11, f"waits {waits}")
        diag(f"waits of a crash loop: {waits} ms")
        equal(m.count_log(r"exited with status 9"), 5, "starts")
        check(proc.cpu_seconds(m.pid) < 1, "the master is busy with it")


def test_backoff_is_reset():
    """A stable run resets the backoff"""
    path = write("flag", "")
    command = ["/bin/sh", "-c", f"test -e {path} && exit 3; exec {server()[0]} --notify"]
    with Master("-w", "1", "-l", "127.0.0.1:0", "--backoff", "50ms", "--min-uptime", "50ms", "--",
                *command) as m:
        m.wait_log(r"failed start number 3")
        os.unlink(path)
        m.wait_ready()
        stays(lambda: True, 0.3, "min-uptime")
        write("flag", "")
        start = m.mark()
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_log(r"failed start number 1\b", start)


def test_other_slots_serve_on():
    """A slot that crashes over and over does not disturb the others"""
    with Master("-w", "3", "-l", "127.0.0.1:0", "--backoff", "20ms", "--backoff-max", "50ms", "--",
                *server("--crash-start=5", "--only-slot=1")) as m:
        m.wait_log(r"main\.1: failed start number 4")
        others = {m.in_slot(0), m.in_slot(2)}
        stays(lambda: others <= set(m.workers()), 0.5, "the other workers live")
        equal(m.health("/healthz/readiness").status, 200, "readiness")


def test_start_timeout():
    """A worker that is not ready in start-timeout is ended and tried again"""
    with Master("-w", "1", "--ready", "notify", "--start-timeout", "300ms", "--backoff", "50ms",
                "--stop-timeout", "300ms", "--", *server("--never-ready", "--ignore-term")) as m:
        m.wait_log(r"failed start number 2")
        equal(m.health("/healthz/liveness").status, 200, "liveness")


def test_exec_errors_at_restart():
    """A program that vanishes or loses its rights while the master runs: told, retried, healed"""
    path = os.path.join(folder(), "worker")
    write("worker", f"#!/bin/sh\nexec {server()[0]} --notify\n", 0o755)
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--backoff", "50ms",
                "--backoff-max", "100ms", "--", path) as m:
        m.wait_ready()
        stays(lambda: True, 0.2, "min-uptime")
        os.rename(path, path + ".away")
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_log(r"worker.*No such file")
        write("worker", "no program\n", 0o644)
        m.wait_log(r"worker.*Permission denied")
        write("worker", "no program\n", 0o755)
        m.wait_log(r"worker.*Exec format error")
        os.rename(path + ".away", path)
        m.wait_ready()
        m.who()


def limit_processes(pid, soft):
    """As its own user, who may that where root in a container lacks CAP_SYS_RESOURCE."""
    subprocess.run([*as_nobody(), need_program("prlimit"), f"--pid={pid}", f"--nproc={soft}:"],
                   check=True)


def test_fork_fails():
    """Too many processes: the master waits and heals, and stays alive"""
    need_root()  # to become a user whose processes can be counted
    with Master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--backoff", "50ms",
                "--backoff-max", "100ms", "--", *server(), wrapper=as_nobody()) as m:
        m.wait_ready()
        stays(lambda: True, 0.2, "min-uptime")
        limit_processes(m.pid, 1)
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_log(r"cannot start a worker|Resource temporarily unavailable")
        equal(m.health("/healthz/liveness").status, 200, "liveness")
        limit_processes(m.pid, resource.getrlimit(resource.RLIMIT_NPROC)[1])
        m.wait_table(2)
        m.wait_slots(2)


def test_socket_options_are_restored():
    """A worker that leaves the socket with other flags and options: the next finds it as it was"""
    script = write("spoil.py", "import socket, time\n"
                   "s = socket.socket(fileno=3)\ns.setblocking(True)\ns.listen(1)\n"
                   "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + 7 * [0]))\n"
                   "time.sleep(1000)\n")
    path = write("first", "")
    command = ["/bin/sh", "-c", f"test -e {path} && exec {need_program('python3')} {script}; "
               f"exec {server()[0]} --notify"]
    with Master("-w", "1", "-l", "127.0.0.1:0", "--ready", "delay", "--ready-delay", "300ms",
                "--min-uptime", "10ms", "--backlog", "64", "--", *command) as m:
        m.wait_ready()
        waiting = [socket.create_connection(("127.0.0.1", m.port())) for _ in range(2)]
        os.unlink(path)
        stays(lambda: True, 0.2, "min-uptime")
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_table(1)
        wait_until(lambda: proc.queue(m.port()) == 0, "the queue is served")
        m.who()
        for sock in waiting:
            sock.close()
        row = proc.listening_rows(m.port())
        equal(len(row), 1, "sockets")


def test_debris_in_queue():
    """Clients that go away while they wait in the queue of a dead worker harm nobody"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        worker = m.in_slot(0)
        os.kill(worker, signal.SIGSTOP)
        for number in range(50):
            with connect(m.address()) as sock:
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + [0] * 7))
        os.kill(worker, signal.SIGKILL)
        m.who()


def test_signal_flood():
    """Signals at a high rate do not disturb the master"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        flood = [signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD, signal.SIGALRM, signal.SIGPIPE,
                 signal.SIGURG, signal.SIGIO, signal.SIGUSR1]
        end = time.monotonic() + 1
        count = 0
        while time.monotonic() < end:
            m.send(random.choice(flood))
            count += 1
        m.who()
        equal(m.health("/healthz/liveness").status, 200, "liveness")
        diag(f"{count} signals in a second")


def test_worker_kills_master_group():
    """A worker that signals its own process group does not reach the master or its siblings"""
    path = write("flag", "")
    command = ["/bin/sh", "-c", f"test $PREFORK_SLOT = 0 && rm {path} 2>&- && kill -KILL 0; "
               f"exec {server()[0]} --notify"]
    with Master("-w", "2", "-l", "127.0.0.1:0", "--backoff", "20ms", "--", *command) as m:
        m.wait_ready()
        matches(m.log(), r"main\.0\[\d+\]: killed by KILL", "log")
        equal(m.count_log(r"main\.1.*killed"), 0, "deaths of the sibling")


def test_descriptors_run_out():
    """No descriptor left in the master: it waits without being busy, the others serve, then it heals"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--backoff", "50ms",
                "--backoff-max", "200ms", "--breaker-failures", "0", "--", *server()) as m:
        m.wait_ready()
        other, limit = m.in_slot(1), proc.limit(m.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(m.pid, resource.RLIMIT_NOFILE, (8, limit[1]))
        start, began = m.mark(), proc.cpu_seconds(m.pid)
        os.kill(m.in_slot(0), signal.SIGKILL)
        with connect(f"127.0.0.1:{m.health_port()}"):
            m.wait_log("Too many open files", start)
            stays(lambda: m.workers() == [other], 2, "the other worker is the only one")
        check(proc.cpu_seconds(m.pid) - began < 1, "the master is busy with it")
        resource.prlimit(m.pid, resource.RLIMIT_NOFILE, limit)
        m.wait_slots(2)
        equal(m.health("/healthz/readiness").status, 200, "readiness")


def test_one_thread():
    """The master has one thread: when that which started a worker ends, the worker gets TERM"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        equal(m.health("/healthz/liveness").status, 200, "liveness")
        equal(proc.status(m.pid)["Threads"], "1", "threads")

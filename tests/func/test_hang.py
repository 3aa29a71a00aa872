"""Workers that no longer accept connections: others get the new ones, and a successor the rest."""
import os
import signal
import time

import proc
from harness import (QUICK, Hammer, Master, check, connect, diag, equal, folder, parse_reply,
                     parse_who, read_all, server, stays, timeout, wait_until, write)
from test_balance import need_ebpf

HUNG = r"hung: accepts none of \d+ waiting"
ABORTED = r"hung: accepted none of \d+ waiting connections for \d+ s: aborting it"
BACK = "accepts connections again"


def send_request(m):
    sock = connect(m.address(), timeout=60)
    sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    return sock


def answer(sock):
    with sock:
        return parse_who(parse_reply(read_all(sock)).body)


def clients(m, count, patience):
    """Connects one after another; (answers, sockets that are still waiting)."""
    answers, stuck = [], []
    for _ in range(count):
        sock = send_request(m)
        sock.settimeout(patience)
        try:
            answers.append(parse_who(parse_reply(read_all(sock)).body))
            sock.close()
        except TimeoutError:
            stuck.append(sock)
    return answers, stuck


def hang(m, slot):
    pid = m.in_slot(slot)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: proc.stat(pid)[1] == "T", "the worker is stopped")
    return pid


def fill(m, count=24):
    """Connections to everyone, which those that hang leave waiting."""
    return [send_request(m) for _ in range(count)]


@timeout(120)
def test_one_hangs():
    """New connections avoid a worker that hangs; its successor answers those that were stuck"""
    count = 400 if QUICK else 2000
    with Master("-w", "8", "-l", "127.0.0.1:0", "--hang-timeout", "4s", "--stop-timeout", "1s",
                "--", *server()) as m:
        m.wait_ready()
        m.wait_slots(8)
        pid = hang(m, 3)
        answers, stuck = clients(m, count, patience=0.25)
        diag(f"{len(answers)} of {count} clients answered at once, {len(stuck)} stuck")
        check(0 < len(stuck) <= count // 10, f"{len(stuck)} of {count} stuck")
        m.wait_log(ABORTED)
        for sock in stuck:
            sock.settimeout(30)
            who = answer(sock)
            check(who.pid != pid, "answered by a process that hangs")
        m.wait_table(8)
        m.wait_slots(8)


@timeout(60)
def test_comes_back():
    """A worker that accepts again gets new connections again, and is not killed"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--hang-timeout", "60s", "--", *server()) as m:
        m.wait_ready()
        pid = hang(m, 1)
        waiting = fill(m)
        m.wait_log(HUNG)
        for _ in range(20):
            equal(m.who().slot, 0, "slot that answers while the other hangs")
        os.kill(pid, signal.SIGCONT)
        m.wait_log(BACK)
        for sock in waiting:
            answer(sock)
        equal(m.wait_slots(2)[1], pid, "the worker that hung")


@timeout(60)
def test_half_at_most():
    """When all hang, half of them keep their share of new connections; nobody is lost"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--hang-timeout", "0", "--", *server()) as m:
        m.wait_ready()
        pids = [hang(m, slot) for slot in range(4)]
        waiting = fill(m, 60)
        wait_until(lambda: m.count_log(HUNG) == 2, "two workers are told to hang")
        stays(lambda: m.count_log(HUNG) == 2, 2, "no more than half")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        for sock in waiting:
            answer(sock)
        equal([m.wait_slots(4)[slot] for slot in range(4)], pids, "workers")


@timeout(60)
def test_never_killed_with_0():
    """hang-timeout = 0 kills nobody"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--hang-timeout", "0", "--", *server()) as m:
        m.wait_ready()
        pid = hang(m, 0)
        waiting = fill(m)
        m.wait_log(HUNG)
        stays(lambda: m.count_log(ABORTED) == 0, 3, "not aborted")
        os.kill(pid, signal.SIGCONT)
        for sock in waiting:
            answer(sock)


def expect_patience(workers, *options):
    """Workers that are too slow for their load, with their queues always full, are never killed.
    One that takes all connections at once accepts none for a second, while it answers them."""
    seconds = 8 if QUICK else 20
    with Master("-w", str(workers), *options, "-l", "127.0.0.1:0", "--hang-timeout", "3s",
                "--backlog", "8", "--", *server("--request-delay=30")) as m:
        m.wait_ready()
        pids = [m.in_slot(slot) for slot in range(workers)]
        with Hammer(m.address(), clients=32, seconds=150) as load:
            time.sleep(seconds)
            load.process.terminate()
            equal(m.count_log("aborting"), 0, "workers aborted")
            equal([m.in_slot(slot) for slot in range(workers)], pids, "workers")
            load.show()


@timeout(180)
def test_slow_is_not_hung():
    """Workers that are too slow for their load, with their queues always full, are never killed"""
    expect_patience(2)


@timeout(180)
def test_slow_alone():
    """The only worker of a pool is not killed for being slow"""
    expect_patience(1)


@timeout(180)
def test_slow_with_one_queue():
    """Workers that share a queue are not killed for being slow"""
    expect_patience(2, "--accept", "shared")


@timeout(90)
def test_the_only_worker():
    """The only worker that accepts nothing is replaced, and its successor answers those that wait"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--hang-timeout", "3s", "--stop-timeout", "1s", "--",
                *server()) as m:
        m.wait_ready()
        pid = hang(m, 0)
        waiting = [send_request(m) for _ in range(5)]
        m.wait_log(HUNG)
        equal(m.is_ready(), False, "readiness")
        waiting += [send_request(m) for _ in range(5)]
        m.wait_log(ABORTED)
        for sock in waiting:
            check(answer(sock).pid != pid, "answered by a process that hangs")
        wait_until(m.is_ready, "readiness")


@timeout(90)
def test_one_queue():
    """When nobody accepts from the queue that all share, one worker is replaced, and that is enough"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--accept", "shared", "--hang-timeout", "3s",
                "--stop-timeout", "1s", "--", *server()) as m:
        m.wait_ready()
        pids = [hang(m, slot) for slot in range(2)]
        waiting = [send_request(m) for _ in range(5)]
        m.wait_log("no worker accepts any of 5 connections")
        m.wait_log(ABORTED)
        for sock in waiting:
            check(answer(sock).pid not in pids, "answered by a process that hangs")
        stays(lambda: m.count_log(ABORTED) == 1, 1, "one worker is aborted")
        for pid in pids:
            if proc.alive(pid):
                os.kill(pid, signal.SIGCONT)


@timeout(60)
def test_quiet_after_load():
    """When the load is over, the master sleeps again"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--min-uptime", "100ms", "--", *server()) as m:
        m.wait_ready()
        for _ in range(100):
            m.who()
        last = [proc.switches(m.pid), time.monotonic()]

        def settled():
            now = proc.switches(m.pid)
            if now != last[0]:
                last[:] = [now, time.monotonic()]
            return time.monotonic() - last[1] > 2
        wait_until(settled, "two quiet seconds")


@timeout(60)
def test_rescue():
    """Connections that wait for a slot whose starts fail are answered by other workers"""
    need_ebpf()
    flag = os.path.join(folder(), "flag")
    script = f'test -e {flag} -a "$PREFORK_SLOT" = 1 && exit 1; exec "$@"'
    with Master("-w", "3", "-l", "127.0.0.1:0", "--hang-timeout", "0", "--backoff", "60s",
                "--backoff-max", "60s", "--min-uptime", "10ms", "--", "/bin/sh", "-c", script, "sh",
                *server()) as m:
        m.wait_ready()
        pid = hang(m, 1)
        waiting = fill(m, 30)
        m.wait_log(HUNG)
        write("flag", "")
        os.kill(pid, signal.SIGKILL)
        m.wait_log(r"main\.1: moved \d+ waiting connections to other workers")
        slots = {answer(sock).slot for sock in waiting}
        check(1 not in slots, f"answered by slots {slots}")
        equal(m.count_log("main.1.*: ready after"), 1, "workers of the slot that became ready")

"""The circuit breaker: crash loops stay contained and visible, and end when their cause does."""
import os
import signal
import time

import proc
from harness import (QUICK, Hammer, Master, check, diag, equal, folder, matches, pool, server,
                     stays, timeout, wait_until, write)

FAST = ["--backoff", "10ms", "--backoff-max", "20ms", "--min-uptime", "50ms"]
STARTED = r"started, generation"
OPEN, HALF_OPEN, CLOSED = r"breaker open", r"breaker half-open", r"breaker closed"


def liveness(m):
    return m.health("/healthz/liveness")


def crashing_while(path, status=3):
    """A command that fails to start as long as the file is there."""
    return ["/bin/sh", "-c", f"test -e {path} && exit {status}; exec {server()[0]} --notify"]


def test_opens_tries_and_closes():
    """Five failures open the breaker; trials fail until the cause is gone, then it closes"""
    path = write("broken", "")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--breaker-cooldown", "300ms", *FAST, "--",
                *crashing_while(path)) as m:
        m.wait_log(OPEN)
        equal(m.count_log(STARTED), 5, "starts until it opens")
        m.wait_log(HALF_OPEN)
        start = m.mark()
        m.wait_log(OPEN, start)
        equal(m.count_log(STARTED), m.count_log(HALF_OPEN) + 5, "starts, one for each trial")
        os.unlink(path)
        m.wait_log(CLOSED)
        m.wait_ready()
        m.who()
        equal(liveness(m).status, 200, "liveness")


def test_a_closed_breaker_has_no_past():
    """After a stable trial a slot may fail five times again"""
    path = write("broken", "")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--breaker-cooldown", "300ms", *FAST, "--",
                *crashing_while(path)) as m:
        m.wait_log(OPEN)
        os.unlink(path)
        m.wait_log(CLOSED)
        start = m.mark()
        write("broken", "")
        os.kill(m.in_slot(0), signal.SIGABRT)
        m.wait_log(OPEN, start)
        equal(m.count_log(r"exited with status 3 after", start), 4, "failed starts after the crash")


def test_crashes_of_stable_workers_count():
    """A worker that crashes again and again after it had been stable opens the breaker too"""
    with Master("-w", "1", "-l", "127.0.0.1:0", *FAST, "--",
                *server("--crash-after=300", "--exit-code=4")) as m:
        m.wait_log(OPEN)
        equal(m.count_log(r"exited with status 4 after"), 5, "crashes")
        equal(m.count_log(r"failed start number"), 0, "failed starts")


def test_clean_ends_and_kills_do_not_count():
    """Consumers that end after some jobs, and workers that somebody kills, open no breaker"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--breaker-failures", "2", *FAST, "--",
                *server("--crash-after=200", "--only-slot=0")) as m:
        m.wait_ready()
        for _ in range(6):
            old = m.in_slot(1)
            stays(lambda: True, 0.1, "min-uptime")
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: m.in_slot(1) not in (0, old), "a replacement")
        wait_until(lambda: m.count_log(r"main\.0.*exited with status 0") >= 6, "six clean ends")
        equal(m.count_log(OPEN), 0, "open breakers")


def test_one_broken_slot_of_four():
    """One broken slot of four: the others serve without a failure, the pages stay 200"""
    config = pool("web", command=server("--crash-start=3", "--only-slot=2"), workers=4,
                  listen="127.0.0.1:0", backoff="10ms", backoff_max="20ms", min_uptime="50ms")
    with Master(config=config) as m:
        wait_until(m.is_ready, "readiness")
        with Hammer(m.address(), clients=8, rate=500, seconds=60) as load:
            m.wait_log(rf"web\.2: {OPEN}")
            stays(lambda: m.is_ready() and liveness(m).status == 200, 1 if QUICK else 5,
                  "readiness and liveness")
            load.expect_clean()


def test_all_broken():
    """Every slot broken: liveness 503 with the reason; a good reload closes the breakers at once"""
    path = write("broken", "")
    config = pool("web", command=crashing_while(path), workers=3, listen="127.0.0.1:0",
                  backoff="10ms", backoff_max="20ms", min_uptime="50ms", breaker_cooldown="1h")
    with Master(config=config) as m:
        wait_until(lambda: m.count_log(OPEN) == 3, "three open breakers")
        reply = liveness(m)
        equal(reply.status, 503, "liveness")
        matches(reply.body, r"broken: web 0/3 \(exited with status 3\)", "reason")
        m.reload(r"reload failed: web slot 0: exited with status 3")
        os.unlink(path)
        m.reload()
        equal(m.count_log(CLOSED) >= 3, True, "closed breakers")
        equal(liveness(m).status, 200, "liveness")
        m.wait_table(3, name="web")


def test_manual_restart():
    """A manual restart closes the breaker and starts at once; a failed one leaves the slot trying"""
    path = write("broken", "")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--breaker-cooldown", "1h", *FAST, "--",
                *crashing_while(path), control=f"{folder()}/control") as m:
        m.wait_log(OPEN)
        m.order("restart?pool=main", "failed")
        wait_until(lambda: m.count_log(OPEN) == 2, "five failures more")
        os.unlink(path)
        m.order("restart?pool=main&slot=0")
        equal(liveness(m).status, 200, "liveness")
        m.who()


def test_upgrade_keeps_it():
    """A broken slot stays broken when the master's program is replaced, and tries when it is time"""
    path = write("broken", "")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--breaker-cooldown", "2s", *FAST, "--",
                *crashing_while(path)) as m:
        m.wait_log(OPEN)
        m.send(signal.SIGUSR2)
        m.wait_log(r"took over", timeout=30)
        start = m.mark()
        equal(liveness(m).status, 503, "liveness")
        os.unlink(path)
        m.wait_log(HALF_OPEN, start)
        m.wait_log(CLOSED, start)
        m.who()


def test_trials_do_not_hide_it():
    """Liveness stays 503 while a broken slot tries"""
    with Master("-w", "1", "--ready", "notify", "--start-timeout", "1500ms", "--breaker-failures",
                "1", "--breaker-cooldown", "100ms", *FAST, "--", *server("--never-ready")) as m:
        m.wait_log(OPEN)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            equal(liveness(m).status, 503, "liveness")
            time.sleep(0.02)
        check(m.count_log(HALF_OPEN) > 0, "no trial was made")


def test_on_breaker_exit():
    """on-breaker = exit: the master stops in order with status 1, other pools with it"""
    config = pool("web", workers=1, listen="127.0.0.1:0") + pool(
        "jobs", command=server("--crash-start=3"), workers=2, on_breaker="exit", backoff="10ms",
        backoff_max="20ms")
    m = Master(config=config).start()
    equal(m.wait(), 1, "exit status")
    matches(m.log(), r"jobs: every slot is broken, and on-breaker is exit", "log")
    matches(m.log(), r"stopped", "log")


@timeout(120)
def test_crash_loop_is_bounded():
    """A worker that always crashes, with the defaults: starts, log and CPU stay bounded"""
    seconds = 15 if QUICK else 60
    with Master("-w", "1", "--", *server("--crash-start=9")) as m:
        m.wait_log(r"started")
        began, cpu = time.monotonic(), proc.cpu_seconds(m.pid)
        while time.monotonic() < began + seconds:
            time.sleep(0.1)
        cpu = proc.cpu_seconds(m.pid) - cpu
        starts, lines = m.count_log(STARTED), len(m.log().splitlines())
        diag(f"{starts} starts, {lines} lines, {100 * cpu / seconds:.2f} % CPU in {seconds} s")
        check(5 <= starts <= 5 + seconds // 30, f"{starts} starts")
        check(lines < 100, f"{lines} lines")
        check(QUICK or m.count_log(HALF_OPEN) > 0, "no trial was made")

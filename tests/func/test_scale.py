"""Numbers: many workers, more and fewer of them, and a master that costs nothing when idle."""
import signal
import time

import proc
from harness import (QUICK, SANITIZERS, Hammer, Master, check, diag, equal, pool, server, sleeper,
                     stays, timeout, wait_until)


@timeout(240)
def test_thousand():
    """1,000 workers are started, reloaded 10 % at a time and stopped within 5 s"""
    count = 100 if QUICK else 1000

    def timed(what, action):
        began = time.monotonic()
        action()
        took = time.monotonic() - began
        diag(f"{count} workers {what} in {took:.2f} s, master {proc.rss_kb(m.pid) / 1024:.1f} MB"
             if what != "stopped" else f"{count} workers stopped in {took:.2f} s")
        return took

    def stop():
        equal(m.stop(timeout=60), 0, "exit status")
    with Master("-w", str(count), "--min-uptime", "10ms", "--reload-batch", "10%", "-q", "-q",
                "--health", "127.0.0.1:0", "--log-level", "info", "--", *sleeper(),
                health=None) as m:
        timed("ready", lambda: m.wait_ready(timeout=60))
        equal(len(m.workers()), count, "workers")
        timed("reloaded", lambda: m.reload(timeout=120))
        m.wait_table(count, gen=2)
        check(timed("stopped", stop) < 5, "the stop took too long")


@timeout(60)
def test_idle():
    """An idle master with 8 workers is not woken up"""
    seconds = 10
    with Master("-w", "8", "-l", "127.0.0.1:0", "--min-uptime", "100ms", "--", *server()) as m:
        m.wait_ready()
        m.wait_slots(8)
        last = [proc.switches(m.pid), time.monotonic()]

        def settled():
            now = proc.switches(m.pid)
            if now != last[0]:
                last[:] = [now, time.monotonic()]
            return time.monotonic() - last[1] > 0.5
        wait_until(settled, "a quiet half second")
        before = proc.switches(m.pid)
        time.sleep(seconds)
        grown = proc.switches(m.pid) - before
        diag(f"idle for {seconds} s with 8 workers: {grown} context switches, "
             f"RSS {proc.rss_kb(m.pid)} kB")
        check(grown <= 5, f"{grown} context switches in {seconds} s")


def test_ttin_ttou():
    """TTIN and TTOU: one worker more, one fewer, under load without a failure"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=8, rate=500, seconds=60) as load:
            for number, wanted in ((signal.SIGTTIN, 3), (signal.SIGTTIN, 4), (signal.SIGTTOU, 3),
                                   (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
                m.send(number)
                m.wait_table(wanted)
                wait_until(lambda: proc.listeners(m.port()) == wanted, "as many sockets")
            load.expect_clean()


def test_ttou_keeps_one():
    """TTOU does not take the last worker away"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        worker = m.in_slot(0)
        m.send(signal.SIGTTOU)
        stays(lambda: m.workers() == [worker], 0.5, "the last worker")
        m.who()


def test_ttin_first_pool():
    """TTIN goes to the first pool of the file"""
    with Master(config=pool("one", sleeper(), workers=1) + pool("two", sleeper(), workers=1)) as m:
        m.wait_ready()
        m.send(signal.SIGTTIN)
        m.wait_table(2, name="one")
        equal(len(m.table("two")), 1, "workers of the second pool")


def test_memory_does_not_grow():
    """Restarts and reloads do not make the master grow"""
    with Master("-w", "2", "--min-uptime", "1ms", "--", *sleeper()) as m:
        m.wait_ready()
        for _ in range(10):
            m.reload()
        before, fds = proc.rss_kb(m.pid), len(proc.fds(m.pid))
        for _ in range(20 if QUICK else 100):
            m.reload()
        after = proc.rss_kb(m.pid)
        diag(f"RSS {before} kB before and {after} kB after the reloads")
        equal(len(proc.fds(m.pid)), fds, "descriptors of the master")
        check(SANITIZERS or after < before + 2000, "the master grew")

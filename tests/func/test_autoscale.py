"""As many workers as the queues ask for, and numbers that change under load."""
import signal

import proc
from harness import (QUICK, Hammer, Master, diag, equal, pool, server, skip, stays, timeout,
                     wait_until)


@timeout(120)
def test_grows_under_load():
    """Queues that stand bring one worker after another, up to max-workers and no further"""
    with Master("-w", "1", "--max-workers", "3", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--",
                *server("--request-delay=50")) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=40, seconds=100) as load:
            m.wait_table(2, timeout=60)
            m.wait_table(3, timeout=60)
            stays(lambda: m.count_log("workers: now 4") == 0, 5, "no more than max-workers")
            load.show()
        equal(m.count_log("connections wait: one worker more"), 2, "steps")


def test_does_not_grow_without_load():
    """Workers that accept at once stay as many as they are"""
    with Master("-w", "1", "--max-workers", "3", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=2, rate=50, seconds=60) as load:
            stays(lambda: len(m.workers()) == 1, 5, "one worker")
            load.expect_clean()


@timeout(150)
def test_shrinks_when_idle():
    """A minute without waiting connections gives one worker up, without a loss"""
    if QUICK:
        skip("takes a minute")
    with Master("-w", "2", "--min-workers", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--",
                *server()) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=2, rate=20, seconds=140) as load:
            m.wait_table(1, timeout=100)
            wait_until(lambda: proc.listeners(m.port()) == 1, "one socket")
            load.expect_clean()


def test_bounds_hold_for_signals():
    """TTIN and TTOU stay within min-workers and max-workers"""
    with Master("-w", "2", "--min-workers", "2", "--max-workers", "3", "-l", "127.0.0.1:0",
                "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        m.send(signal.SIGTTOU)
        m.wait_log(r"TTOU: ignored: workers stay within 2\.\.3 \(min-workers, max-workers\)")
        m.send(signal.SIGTTIN)
        m.wait_table(3)
        m.send(signal.SIGTTIN)
        m.wait_log(r"TTIN: ignored: workers stay within 2\.\.3")


def test_reload_keeps_the_number():
    """A reload keeps what the queues or a signal found, within the new bounds"""
    text = {"listen": "127.0.0.1:0", "min_uptime": "10ms", "workers": 1, "min_workers": 1}
    with Master(config=pool(max_workers=4, **text)) as m:
        m.wait_ready()
        for wanted in (2, 3):
            m.send(signal.SIGTTIN)
            m.wait_table(wanted)
        m.reload()
        m.wait_table(3, gen=2)
        m.write_config(pool(max_workers=2, **text))
        m.reload()
        m.wait_table(2, gen=3)


@timeout(240)
def test_up_and_down_under_load():
    """From 8 workers to 2 and back under load: nobody fails"""
    times = 3 if QUICK else 20
    with Master("-w", "8", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=16, seconds=230) as load:
            for _ in range(times):
                for number, wanted in ((signal.SIGTTOU, range(7, 1, -1)), (signal.SIGTTIN, range(3, 9))):
                    for n in wanted:
                        start = m.mark()
                        m.send(number)
                        m.wait_log(f"workers: now {n}", start)
                    m.wait_table(wanted[-1])
            load.expect_clean()
        diag(f"{times} times from 8 workers to 2 and back")

"""Workers that become too big or too old are replaced, and nobody notices."""
import os
import re
import time

from harness import (QUICK, SANITIZERS, Hammer, Master, check, diag, folder, pool, server, skip,
                     sleeper, stays, timeout, wait_until, write)

BIG = r"MiB resident are more than max-memory: replacing it"
OLD = r"its max-lifetime is over"
FAILED = r"the replacement failed: next replacement not before"


@timeout(150)
def test_leak():
    """A worker that leaks, under load: replaced again and again, 0 failed requests"""
    if SANITIZERS:
        skip("a sanitizer's memory is no measure")
    times = 3 if QUICK else 10
    with Master("-w", "2", "-l", "127.0.0.1:0", "--max-memory", "40M", "--min-uptime", "100ms",
                "--backoff", "10ms", "--backoff-max", "10ms", "--", *server("--leak=64")) as m:
        m.wait_ready()
        began = time.monotonic()
        with Hammer(m.address(), clients=4, rate=300, seconds=120) as load:
            wait_until(lambda: m.count_log(BIG) > times, f"{times} replacements", 110)
        load.expect_clean()
        diag(f"{m.count_log(BIG) - 1} replacements in {time.monotonic() - began:.1f} s")


@timeout(100)
def test_lifetime():
    """max-lifetime: every worker is replaced by another one, one at a time, 0 failed requests"""
    with Master("-w", "3", "-l", "127.0.0.1:0", "--max-lifetime", "2s", "--min-uptime", "50ms", "--",
                *server()) as m:
        m.wait_ready()
        first = {who.pid for who in m.wait_table(3)}
        with Hammer(m.address(), clients=4, rate=300, seconds=60) as load:
            wait_until(lambda: not first & {who.pid for who in m.table()}, "all others", 50)
        load.expect_clean()
        check(m.count_log(OLD) >= 3, "replacements")


def test_child_is_big():
    """The server behind a wrapper is what is looked at, too"""
    if SANITIZERS:
        skip("a sanitizer's memory is no measure")
    script = write("big.py", "import time\nx = b'x' * 80000000\ntime.sleep(600)\n")
    with Master("-w", "1", "--max-memory", "60M", "--min-uptime", "50ms", "--ready-delay", "100ms", "--",
                "sh", "-c", f"python3 {script} & wait") as m:
        m.wait_ready()
        m.wait_log(BIG)


def test_too_low():
    """A limit below what every worker needs: replacements become rare, and the service stays"""
    if SANITIZERS:
        skip("a sanitizer's memory is no measure")
    with Master("-w", "1", "--max-memory", "1M", "--min-uptime", "20ms", "--ready-delay", "20ms",
                "--backoff", "60s", "--backoff-max", "60s", "--", "python3", "-c",
                "import time; time.sleep(600)") as m:
        m.wait_ready()
        m.wait_log(r"too big soon after its start: next replacement not before \d+ ms")
        count = m.count_log(BIG)
        stays(lambda: m.count_log(BIG) == count, 3, "no further replacement")
        check(m.is_ready(), "ready")


def test_failing_successor():
    """A successor that does not come up: the old worker stays, and the next attempt waits"""
    bad = os.path.join(folder(), "bad")
    with Master("-w", "2", "--max-lifetime", "1s", "--min-uptime", "20ms", "--ready-delay", "20ms",
                "--backoff", "60s", "--backoff-max", "60s", "--", "sh", "-c",
                f'[ ! -e "{bad}" ] || exit 3; exec "$@"', "sh", *sleeper()) as m:
        m.wait_ready()
        write("bad", "")
        m.wait_log(FAILED)
        pids = set(m.workers())
        stays(lambda: m.count_log(FAILED) == 1 and set(m.workers()) == pids, 3, "nothing more happens")
        check(m.is_ready(), "ready")


def test_reload_goes_first():
    """Nothing is replaced during a reload, also where it has not come yet"""
    text = pool(command=sleeper(), workers=3, min_uptime="2s", ready_delay="20ms", max_lifetime="3s")
    with Master(config=text) as m:
        m.wait_ready()
        m.reload()  # 6 seconds and more; in the fourth the worker of slot 2 is too old
        before = m.log().partition("reload complete")[0]
        check(not re.search(OLD, before), "a replacement during the reload")
        m.wait_log(OLD)


def test_reload_of_the_limits():
    """A reload switches it on and off, for workers that run as well"""
    text = pool(command=sleeper(), workers=2, min_uptime="20ms", ready_delay="20ms")
    with Master(config=text) as m:
        m.wait_ready()
        m.write_config(text + "max-lifetime = 1s\n")
        m.reload()
        m.wait_log(OLD)
        m.write_config(text)
        m.reload()
        count = m.count_log(OLD)
        stays(lambda: m.count_log(OLD) == count, 3, "switched off")

"""Reloads: nothing is lost, nothing bad gets in, everything comes back."""
import os
import signal

import proc
from harness import (QUICK, RELOAD_DONE, RELOAD_FAILED, Hammer, Master, Systemd, ask, check, diag,
                     equal, folder, free_port, matches, pool, quiet_server, server, sleeper,
                     timeout, wait_until, write)

FAST = {"min_uptime": "20ms", "backoff": "20ms"}  # reloads that take no longer than they must


@timeout(240)
def test_fifty_under_load():
    """50 reloads under load from 32 clients: 0 failed, 0 refused"""
    count = 10 if QUICK else 50
    with Master("-w", "4", "-l", "127.0.0.1:0", "--min-uptime", "20ms", "--", *server()) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=32, rate=2000, seconds=200) as load:
            took = [int(matches(m.reload().group(0), r"after (\d+) ms", "log").group(1))
                    for _ in range(count)]
            result = load.expect_clean()
        diag(f"{count} reloads, {4 * count} workers replaced, each reload "
             f"{min(took)} to {max(took)} ms")
        check(len(result["gens"]) > count // 2, f"generations that answered: {result['gens']}")
        m.wait_table(4, gen=count + 1)


@timeout(120)
def test_keepalive_under_load():
    """Reloads under load with connections that are kept open: 0 failed"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "20ms", "--", *server()) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=16, rate=1000, seconds=60, keepalive=True) as load:
            for _ in range(5):
                m.reload()
            load.expect_clean()


def bad_reload(text_of_bad, reason, seconds_to_fail=20, workers=4, start_args=(), may_lose=0):
    """A reload to a bad configuration under load: all old workers serve on, log and STATUS tell the
    reason, the service manager hears READY=1 again, and the next good reload works."""
    systemd = Systemd()
    good = pool(workers=workers, listen="127.0.0.1:0", **FAST)
    with Master(*start_args, config=good, env=systemd.env()) as m:
        m.wait_ready()
        old = m.wait_table(workers)
        seen = systemd.wait("READY", "1") + 1
        with Hammer(m.address(), clients=16, rate=1000, seconds=100) as load:
            m.write_config(text_of_bad(good, m))
            told = m.reload(RELOAD_FAILED, seconds_to_fail).group(0)
            matches(told, reason, "reason in the log")
            wait_until(lambda: len(m.table()) == workers, "only the old workers")
            result = load.expect_clean(may_lose)
        diag(f"generations that answered: {result['gens']}")
        begun = systemd.wait("RELOADING", "1", seen)
        check("MONOTONIC_USEC" in systemd.messages[begun], "RELOADING without MONOTONIC_USEC")
        systemd.wait("READY", "1", begun)
        systemd.wait("STATUS", ".*reload failed.*", begun)
        equal(m.health("/healthz/readiness").status, 200, "readiness")
        m.write_config(good)
        number = int(m.reload().group(1))
        m.wait_table(workers, gen=number)
        return old


def test_missing_binary():
    """Reload to a missing binary: refused, nothing lost, the next good one works"""
    bad_reload(lambda good, m: good.replace(server()[0], "/nonexistent/server"),
               r"/nonexistent/server.*No such file")


def test_crashing():
    """Reload to a crashing binary: refused, nothing lost, the next good one works"""
    bad_reload(lambda good, m: good.replace("--notify", "--notify --crash-start=7"), r"status 7")


def test_crashing_late():
    """Reload to a binary that crashes within min-uptime: refused, nothing lost"""
    bad_reload(lambda good, m: good.replace("--notify", "--notify --crash-after=100 --exit-code=8")
               .replace("min-uptime = 20ms", "min-uptime = 2s"), r"status 8",
               may_lose=16)  # what the canary had accepted itself


def test_never_ready():
    """Reload to a worker that is never ready: refused, nothing lost, the next good one works"""
    bad_reload(lambda good, m: good.replace("--notify", "--never-ready") +
               "ready = notify\nstart-timeout = 500ms\n", r"not ready|in time")


def test_config_error():
    """Reload of a file with an error: refused, nothing lost, the next good one works"""
    bad_reload(lambda good, m: good.replace("workers = 4", "workers = many"),
               r":\d+: \[pool:main\] workers: 'many'")


def test_config_duplicate():
    """Reload of a file that sets a key twice: refused, nothing lost, the next good one works"""
    bad_reload(lambda good, m: good + "workers = 3\n", r":\d+: \[pool:main\] workers: is set on line")


def test_rollback():
    """The canary succeeds, slot 2 fails: replaced slots go back, 0 failed requests"""
    old = bad_reload(lambda good, m: good.replace(
        "--notify", "--notify --crash-start=6 --only-slot=2"), r"slot 2.*status 6")
    check(old, "there were workers")


def test_rollback_is_complete():
    """After a rollback every slot runs the old command; the slots not reached keep their process"""
    good = pool(workers=4, listen="127.0.0.1:0", **FAST)
    with Master(config=good) as m:
        m.wait_ready()
        before = m.wait_table(4)
        m.write_config(good.replace("--notify", "--notify --crash-start=6 --only-slot=2"))
        m.reload(RELOAD_FAILED)
        after = m.wait_table(4, gen=1)
        for who in after:
            check("--only-slot=2" not in proc.command(who.pid), f"slot {who.slot} runs the new one")
        equal(after[2:], before[2:], "slots that were not replaced")
        check(after[0] != before[0], "slot 0 was replaced and came back")


def test_file_gone():
    """A configuration that is missing, a directory or a FIFO at reload changes nothing"""
    good = pool(workers=1, listen="127.0.0.1:0", **FAST)
    with Master(config=good) as m:
        m.wait_ready()
        before = m.wait_table(1)
        os.unlink(m.config_path)
        m.reload(RELOAD_FAILED)
        os.mkdir(m.config_path)
        m.reload(RELOAD_FAILED)
        os.rmdir(m.config_path)
        os.mkfifo(m.config_path)
        m.reload(RELOAD_FAILED)
        equal(m.wait_table(1), before, "workers")
        m.write_config(good)
        m.reload()


def test_fixed_setting():
    """A setting that cannot change at run time is refused by name"""
    good = pool(workers=1, listen="127.0.0.1:0", accept="per-worker", **FAST)
    with Master(config=good) as m:
        m.wait_ready()
        m.write_config(good.replace("per-worker", "shared"))
        matches(m.reload(RELOAD_FAILED).group(0), r"accept.*per-worker.*shared", "reason")
        m.write_config(good + f"[preforkd]\npidfile = {folder()}/other\n")
        matches(m.reload(RELOAD_FAILED).group(0), r"pidfile", "reason")
        m.write_config(good)
        m.reload()


def test_coalescing():
    """100 HUPs during a reload become one more reload"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "200ms", "--", *server()) as m:
        m.wait_ready()
        start = m.mark()
        for _ in range(100):
            m.send(signal.SIGHUP)
        m.wait_log(RELOAD_DONE, start)
        wait_until(lambda: m.count_log("reload begins") == m.count_log(RELOAD_DONE), "the end")
        m.who()
        count = m.count_log(RELOAD_DONE, start)
        check(1 <= count <= 3, f"{count} reloads")
        diag(f"100 HUPs: {count} reloads")
        m.wait_table(2, gen=1 + count)


def test_grow_and_shrink():
    """workers 2 -> 4 -> 2 by reload under load: 0 failed"""
    config = pool(workers=2, listen="127.0.0.1:0", **FAST)
    with Master(config=config) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=16, rate=1000, seconds=60) as load:
            for count in (4, 2, 4, 1, 2):
                m.write_config(config.replace("workers = 2", f"workers = {count}"))
                m.reload()
                m.wait_table(count)
                wait_until(lambda: len(listen_inodes(m)) == count, "as many sockets as workers")
            load.expect_clean()


def listen_inodes(m):
    return [row[9] for row in proc.listening_rows(m.port())]


def test_listeners_change():
    """A reload adds a listener and drops one; the one that stays loses nothing"""
    stays_at, comes_at = free_port(), free_port()
    config = pool(workers=2, listen=[f"127.0.0.1:{stays_at}"], **FAST)
    more = pool(workers=2, listen=[f"127.0.0.1:{stays_at}", f"127.0.0.1:{comes_at}"], **FAST)
    with Master(config=config) as m:
        m.wait_ready()
        with Hammer(f"127.0.0.1:{stays_at}", clients=8, rate=500, seconds=60) as load:
            m.write_config(more)
            m.reload()
            ask(f"127.0.0.1:{comes_at}")
            m.write_config(config)
            m.reload()
            wait_until(lambda: proc.listeners(comes_at) == 0, "the dropped listener's end")
            equal(proc.listeners(stays_at), 2, "sockets that stay")
            load.expect_clean()


def test_listener_taken():
    """A reload to an address that is taken is refused with who has it; the old one serves on"""
    with Master(config=pool(workers=1, listen="127.0.0.1:0", **FAST)) as other:
        other.wait_ready()
        good = pool(workers=2, listen="127.0.0.1:0", **FAST)
        with Master(config=good) as m:
            m.wait_ready()
            before = m.wait_table(2)
            m.write_config(good.replace("127.0.0.1:0", f"127.0.0.1:{other.port()}"))
            matches(m.reload(RELOAD_FAILED).group(0), rf":{other.port()}.*pid \d+", "reason")
            equal(m.wait_table(2), before, "workers")
            m.who()


def test_pools_come_and_go():
    """A pool that a reload adds starts, one that it drops stops, the third is not disturbed"""
    one, two = pool("one", sleeper(), workers=1, **FAST), pool("two", sleeper(), workers=2, **FAST)
    with Master(config=one) as m:
        m.wait_ready()
        m.write_config(one + two)
        m.reload()
        m.wait_table(2, name="two")
        m.write_config(one)
        m.reload()
        wait_until(lambda: len(m.table("two")) == 0, "the end of the dropped pool")
        equal(len(m.table("one")), 1, "workers of the pool that stays")


def test_new_command_and_batch():
    """A reload takes the new command and environment; reload-batch replaces several at once"""
    config = pool(workers=4, listen="127.0.0.1:0", env="VERSION=1", reload_batch="50%", **FAST)
    with Master(config=config) as m:
        m.wait_ready()
        m.write_config(config.replace("VERSION=1", "VERSION=2"))
        m.reload()
        equal({proc.environ(pid)["VERSION"] for pid in m.workers()}, {"2"}, "environment")


def test_canary_goes_alone():
    """The first slot is replaced alone: while it has not proved itself no other is touched"""
    good = pool(workers=4, listen="127.0.0.1:0", reload_batch=4, **FAST)
    with Master(config=good) as m:
        m.wait_ready()
        m.write_config(good.replace("--notify", "--never-ready") +
                       "ready = notify\nstart-timeout = 1s\n")
        most = 0

        def failed():
            nonlocal most
            most = max(most, len(m.table()))
            return m.count_log(RELOAD_FAILED)
        m.send(signal.SIGHUP)
        wait_until(failed, "the reload's failure")
        equal(most, 5, "workers at most")


def test_starting_worker_makes_room():
    """A worker that is not ready yet makes room for the reload's at once, and for that reason"""
    command = server("--never-ready")
    with Master(config=pool(command=command, workers=1, listen="127.0.0.1:0", ready="notify"),
                control=f"{folder()}/control") as m:
        m.wait_table(1)
        m.send(signal.SIGHUP)
        m.wait_table(1, gen=2)
        slot = m.status()["pools"][0]["slots"][0]
        equal((slot["last_exit"]["reason"], slot["restarts"]), ("reload", 0), "last exit, restarts")


def test_worker_dies_during_reload():
    """Workers that are killed while a reload runs do not stop it, and nothing else is lost"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--min-uptime", "100ms", "--", *server()) as m:
        m.wait_ready()
        old = m.wait_table(4)
        start = m.mark()
        m.send(signal.SIGHUP)
        m.wait_log("reload begins", start)
        os.kill(old[3].pid, signal.SIGKILL)
        os.kill(old[2].pid, signal.SIGKILL)
        m.wait_log(RELOAD_DONE, start)
        m.wait_table(4, gen=2)
        m.wait_slots(4)


def test_quiet_server():
    """A reload of workers that say nothing waits until each is seen to accept"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--ready-delay", "10m", "--min-uptime", "20ms",
                "--", *quiet_server("--start-delay=200")) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=4, rate=200, seconds=30) as load:
            m.reload()
            load.expect_clean()


def test_executable_replaced():
    """A reload runs the program that now lies at the path, also through a symbolic link"""
    link = os.path.join(folder(), "server")
    os.symlink("/bin/sleep", link)
    with Master("-w", "1", "--ready", "delay", "--ready-delay", "20ms", "--min-uptime", "20ms",
                "--", link, "1000") as m:
        m.wait_ready()
        os.unlink(link)
        write("server", "#!/bin/sh\nexec tail -f /dev/null\n", 0o755)
        m.reload()
        wait_until(lambda: proc.command(m.in_slot(0))[:1] == ["tail"], "the new program")

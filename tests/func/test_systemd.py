"""Being a service: sd_notify towards the manager."""
import os
import signal
import time

from harness import (RELOAD_DONE, Master, Systemd, check, diag, equal, pool, proc, server, sleeper,
                     wait_until)


def test_start_and_stop():
    """READY=1 once at min-ready, STATUS, then STOPPING=1 once"""
    systemd = Systemd()
    with Master("-w", "2", "--", *server("--start-delay=300"), env=systemd.env()) as m:
        index = systemd.wait("READY", "1")
        equal(m.health("/healthz/readiness").status, 200, "readiness when READY=1 came")
        m.wait_ready()
        check(any("STATUS" in message for message in systemd.poll()), "no STATUS was sent")
        equal(m.stop(), 0, "exit status")
        systemd.wait("STOPPING", "1", index)
        equal(systemd.keys().count("READY"), 1, "READY")
        equal(systemd.keys().count("STOPPING"), 1, "STOPPING")


def test_not_ready_before_min_ready():
    """No READY=1 while fewer than min-ready workers are ready; EXTEND_TIMEOUT_USEC meanwhile"""
    systemd = Systemd()
    with Master("-w", "2", "--min-ready", "2", "--ready", "notify", "--start-timeout", "1h", "--",
                *server("--never-ready", "--only-slot=1"), env=systemd.env()) as m:
        m.wait_log("ready after")
        systemd.wait("EXTEND_TIMEOUT_USEC", r"\d+")
        equal(systemd.keys().count("READY"), 0, "READY")
        equal(m.stop(), 0, "exit status")


def test_reload():
    """A reload is RELOADING=1 with MONOTONIC_USEC in one message, then READY=1"""
    systemd = Systemd()
    with Master("-w", "2", "--min-uptime", "20ms", "--", *sleeper(), env=systemd.env()) as m:
        m.wait_ready()
        for _ in range(3):
            systemd.wait("READY", "1")
            start = len(systemd.messages)
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            m.reload()
            begun = systemd.wait("RELOADING", "1", start)
            usec = int(systemd.messages[begun].get("MONOTONIC_USEC", "0"))
            after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            check(before <= usec <= after, f"MONOTONIC_USEC {usec} is not in {before}..{after}")
            systemd.wait("READY", "1", begun)
            equal(systemd.keys(start).count("READY"), 1, "READY for one reload")


def test_many_reloads_end_ready():
    """Whatever comes in between: as many READY=1 as RELOADING=1, the last word is READY=1"""
    systemd = Systemd()
    with Master("-w", "2", "--min-uptime", "20ms", "--", *sleeper(), env=systemd.env()) as m:
        m.wait_ready()
        start = len(systemd.poll())
        for _ in range(30):
            m.send(signal.SIGHUP)
        m.wait_log(RELOAD_DONE)
        wait_until(lambda: m.count_log("reload begins") == m.count_log(RELOAD_DONE), "the end")
        m.reload()
        wait_until(lambda: m.count_log("reload begins") == m.count_log(RELOAD_DONE), "the end")
        wait_until(lambda: systemd.keys(start).count("READY") ==
                   systemd.keys(start).count("RELOADING") > 0, "a READY=1 for each RELOADING=1")


def test_status_of_failure():
    """A failed reload is told in STATUS, with the reason"""
    systemd = Systemd()
    config = pool(command=sleeper(), workers=1, min_uptime="20ms")
    with Master(config=config, env=systemd.env()) as m:
        m.wait_ready()
        m.write_config(config.replace("workers = 1", "workers = none"))
        m.reload("reload failed")
        systemd.wait("STATUS", r".*reload failed.*workers.*none.*")


def test_watchdog():
    """WATCHDOG=1 comes at least twice in WATCHDOG_USEC, while the master is well"""
    systemd = Systemd()
    with Master("-w", "1", "--", *sleeper(), env=systemd.env(WATCHDOG_USEC="1000000")) as m:
        m.wait_ready()
        systemd.wait("WATCHDOG", "1")
        start = len(systemd.messages)
        began = time.monotonic()
        wait_until(lambda: systemd.keys(start).count("WATCHDOG") >= 4, "4 pings")
        took = time.monotonic() - began
        diag(f"4 pings in {took:.2f} s for WATCHDOG_USEC of 1 s")
        check(took < 3, "the pings are too rare")
        os.kill(m.pid, signal.SIGSTOP)
        systemd.poll()
        count = systemd.keys().count("WATCHDOG")
        time.sleep(1.5)
        check(systemd.keys().count("WATCHDOG") <= count, "somebody else pings")
        os.kill(m.pid, signal.SIGCONT)


def test_watchdog_of_another():
    """WATCHDOG_PID of another process: no pings"""
    systemd = Systemd()
    with Master("-w", "1", "--", *sleeper(),
                env=systemd.env(WATCHDOG_USEC="200000", WATCHDOG_PID="1")) as m:
        m.wait_ready()
        time.sleep(0.6)
        equal(systemd.keys().count("WATCHDOG"), 0, "pings")


def test_slow_stop_extends():
    """EXTEND_TIMEOUT_USEC keeps the manager patient while a stop takes its time"""
    systemd = Systemd()
    with Master("-w", "1", "--stop-timeout", "2s", "--", *server("--ignore-term"),
                env=systemd.env()) as m:
        m.wait_ready()
        m.send(signal.SIGTERM)
        stopping = systemd.wait("STOPPING", "1")
        systemd.wait("EXTEND_TIMEOUT_USEC", r"\d+", stopping)
        equal(m.wait(), 0, "exit status")


def test_hup_is_caught():
    """SIGHUP has a handler when READY=1 is sent, as newer managers demand"""
    systemd = Systemd()
    with Master("-w", "1", "--", *sleeper(), env=systemd.env()) as m:
        systemd.wait("READY", "1")
        caught = int(proc.status(m.pid)["SigCgt"], 16)
        check(caught >> (signal.SIGHUP - 1) & 1, f"SigCgt {caught:x}")


def test_unreachable_manager():
    """A manager's socket that is not there, odd or full does no harm"""
    for path in ("/nonexistent/socket", "@nobody-listens-here", "vsock:2:1234", "relative", "/"):
        with Master("-w", "1", "--min-uptime", "20ms", "--", *sleeper(),
                    env={"NOTIFY_SOCKET": path}) as m:
            m.wait_ready()
            m.reload()


def test_full_manager():
    """A manager that does not read does not stop the master; READY=1 comes when it reads again"""
    systemd = Systemd()
    with Master("-w", "1", "--min-uptime", "10ms", "--", *sleeper(), env=systemd.env()) as m:
        m.wait_ready()
        for _ in range(20):
            m.reload()
        equal(m.health("/healthz/liveness").status, 200, "liveness")
        wait_until(lambda: systemd.keys() and systemd.keys()[-1] != "RELOADING" and
                   "READY" in systemd.keys(), "READY=1")

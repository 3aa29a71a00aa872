"""Which workers that end get a successor, and what becomes of a master without work."""
import os
import signal

from harness import (Master, check, equal, matches, pool, server, sleeper, stays, wait_until, write)

FAST = ["--backoff", "10ms", "--backoff-max", "20ms", "--min-uptime", "50ms"]


def shell(script):
    return ["/bin/sh", "-c", script]


def test_on_failure():
    """on-failure: a crash is replaced, a clean end is not, and readiness counts the others"""
    with Master("-w", "2", "--restart", "on-failure", "--min-ready", "100%", *FAST, "--ready",
                "notify", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        stays(lambda: True, 0.2, "min-uptime")
        old = m.in_slot(0)
        os.kill(old, signal.SIGABRT)
        wait_until(lambda: m.in_slot(0) not in (0, old), "a replacement")
        m.wait_ready()
        stays(lambda: True, 0.2, "min-uptime")
        start = m.mark()
        os.kill(m.in_slot(1), signal.SIGTERM)
        m.wait_log(r"main\.1\[\d+\]: exited with status 0", start)
        stays(lambda: m.is_ready() and m.count_log(r"main\.1.*started", start) == 0, 0.5,
              "a slot that has finished")
        m.reload()
        m.wait_table(2)


def test_jobs_end_the_master():
    """When every worker has ended well, the master ends with status 0; else with 1"""
    for policy in "on-failure", "never":
        equal(Master("-w", "3", "--restart", policy, "--", "/bin/true").run()[0], 0, policy)
    m = Master("-w", "3", "--restart", "never", "--shutdown-exit-status", "9", "--",
               *shell("exit 0"))
    equal(m.run()[0], 9, "shutdown-exit-status")
    status, log = Master("-w", "3", "--restart", "never", "--",
                         *shell("exit $((PREFORK_SLOT == 1))")).run()
    equal(status, 1, "exit status with one failure")
    matches(log, r"main\.1\[\d+\]: exited with status 1", "log")
    check("failed start" not in log, "a job is no failed start")


def test_never():
    """never: also a worker that had to be killed, or came late, is not replaced"""
    status, log = Master("-w", "1", "--restart", "never", "--ready", "notify", "--start-timeout",
                         "200ms", "--stop-timeout", "200ms", "--",
                         *server("--never-ready", "--ignore-term")).run()
    equal(status, 1, "exit status")
    equal(log.count("started, generation"), 1, "starts")


def test_on_failure_tries_again():
    """on-failure: a job that fails is tried again until it ends well"""
    path = write("fails", "")
    m = Master("-w", "1", "--restart", "on-failure", *FAST, "--",
               *shell(f"test -e {path} && exit 4; exit 0")).start()
    wait_until(lambda: m.count_log(r"exited with status 4") >= 2, "failures")
    os.unlink(path)
    equal(m.wait(), 0, "exit status")


def test_finished_pool_beside_another():
    """Jobs that have ended leave a web pool beside them alone, and readiness 200"""
    config = pool("web", workers=1, listen="127.0.0.1:0", min_uptime="50ms") + pool(
        "jobs", command=["/bin/true"], workers=2, restart="never")
    with Master(config=config) as m:
        wait_until(lambda: m.count_log(r"jobs\.\d\[\d+\]: exited") == 2, "both jobs")
        m.wait_ready()
        m.wait_log(r"all workers are ready")
        stays(lambda: m.is_ready() and m.process.poll() is None, 0.5, "readiness")
        m.reload()
        equal(m.count_log(r"jobs\.\d\[\d+\]: exited"), 4, "jobs after a reload")


def test_finished_web_pool_is_not_ready():
    """A pool with an address whose workers have all ended is not ready"""
    config = pool("web", workers=1, listen="127.0.0.1:0", min_uptime="50ms",
                  restart="on-failure") + pool("jobs", command=sleeper(), workers=1)
    with Master(config=config) as m:
        m.wait_ready()
        os.kill(m.in_slot(0, "web"), signal.SIGTERM)
        wait_until(lambda: not m.is_ready(), "readiness 503")
        matches(m.health("/healthz/readiness").body, r"degraded: web 0/1", "reason")
        equal(m.health("/healthz/liveness").status, 200, "liveness")

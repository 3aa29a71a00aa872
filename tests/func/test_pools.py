"""Several pools in one master: each with its own settings, listeners, states and failures."""
import os
import signal

from harness import (Hammer, Master, ask, check, equal, matches, pool, server, sleeper, stays,
                     wait_until)

CONSUMER = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


def web(**settings):
    return pool("web", workers=2, listen="127.0.0.1:0", min_uptime="50ms", **settings)


def jobs(command=None, **settings):
    return pool("jobs", command=command or CONSUMER, workers=2, min_uptime="50ms",
                ready_delay="50ms", backoff="10ms", backoff_max="20ms", **settings)


def pids(m, name):
    """Of the workers that a pool has now."""
    return {m.in_slot(slot, name) for slot in range(2)}


def test_consumers_beside_web():
    """Consumers without addresses are supervised like servers, and have settings of their own"""
    with Master(config=web() + jobs(stop_signal="USR2", env="ROLE=jobs")) as m:
        m.wait_ready()
        old = pids(m, "jobs")
        servers = pids(m, "web")
        stays(lambda: True, 0.2, "min-uptime")
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: 0 not in pids(m, "jobs") and not pids(m, "jobs") & old, "successors")
        equal(pids(m, "web"), servers, "servers")
        with open(f"/proc/{m.in_slot(0, 'jobs')}/environ", encoding="utf-8") as file:
            env = file.read().split("\0")
        check("ROLE=jobs" in env and "PREFORK_POOL=jobs" in env, "environment of a consumer")
        check(not [item for item in env if item.startswith("LISTEN_FDS=")], "sockets of a consumer")
        start = m.mark()
        old = pids(m, "jobs")
        m.reload()
        check(not pids(m, "jobs") & old, "consumers of before the reload")
        equal(m.count_log(r"jobs\.\d\[\d+\]: killed by USR2|jobs\.\d.*exited", start), 2, "ends")


def test_broken_consumers_leave_web_alone():
    """Consumers that crash over and over: the web pool serves without a failure and is ready"""
    with Master(config=web() + jobs(["/bin/sh", "-c", "exit 3"], min_ready="1",
                                    breaker_cooldown="1h")) as m:
        wait_until(lambda: m.count_log(r"jobs\.\d: breaker open") == 2, "broken consumers")
        servers = pids(m, "web")
        with Hammer(m.address(), clients=4, rate=300, seconds=30) as load:
            stays(lambda: pids(m, "web") == servers, 1, "servers")
            load.expect_clean()
        reply = m.health("/healthz/readiness?verbose")
        matches(reply.body, r"^\[\+\]web ok: 2/2", "readiness")
        matches(reply.body, r"^\[-\]jobs failed: 0/2", "readiness")
        matches(m.health("/healthz/liveness").body, r"broken: jobs 0/2 \(exited with status 3\)$",
                "liveness")
        equal(m.count_log(r"web\.\d: (breaker|failed start)"), 0, "failures of the web pool")


def test_broken_web_leaves_consumers_alone():
    """The other way round"""
    config = pool("web", command=server("--crash-start=4"), workers=2, listen="127.0.0.1:0",
                  backoff="10ms", backoff_max="20ms") + jobs()
    with Master(config=config) as m:
        wait_until(lambda: m.count_log(r"web\.\d: breaker open") == 2, "broken servers")
        consumers = pids(m, "jobs")
        stays(lambda: pids(m, "jobs") == consumers, 0.5, "consumers")


def test_reload_of_one_bad_pool():
    """A reload whose consumers fail takes the web pool back too, without a lost request"""
    with Master(config=web() + jobs()) as m:
        m.wait_ready()
        old = pids(m, "jobs")
        with Hammer(m.address(), clients=4, rate=300, seconds=60) as load:
            m.write_config(web() + jobs(["/bin/sh", "-c", "exit 5"]))
            m.reload(r"reload failed: jobs slot 0: exited with status 5")
            equal(pids(m, "jobs"), old, "consumers")
            m.write_config(web() + jobs(sleeper()))
            m.reload()
            load.expect_clean()
        check(not pids(m, "jobs") & old, "consumers of before the reload")


def test_policies_are_each_pools_own():
    """restart and the breaker of one pool do not touch the other"""
    config = web(breaker_failures="1") + jobs(["/bin/sh", "-c", "sleep 0.2; exit 6"],
                                              restart="never")
    with Master(config=config) as m:
        m.wait_ready()
        wait_until(lambda: m.count_log(r"jobs\.\d\[\d+\]: exited with status 6") == 2, "jobs")
        stays(lambda: m.process.poll() is None and m.is_ready(), 0.3, "the web pool")
        check(ask(m.address()), "an answer")
        start = m.mark()
        os.kill(m.in_slot(0, "web"), signal.SIGABRT)
        m.wait_log(r"web\.0: breaker open", start)
        equal(m.count_log(r"jobs\.\d.*started", start), 0, "starts of finished jobs")

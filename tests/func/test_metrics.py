"""/metrics as Prometheus reads it: its form, and that figures follow what happens."""
import os
import re
import signal
import subprocess
import time

import proc
from harness import (TOP, Master, check, connect, diag, equal, folder, need_program, pool,
                     quiet_server, server, sleeper, wait_until, write)


def promtool(*args, text=None):
    program = need_program("promtool")
    done = subprocess.run([program, *args], input=text, capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode, done.stdout + done.stderr


def test_promtool():
    """promtool finds nothing to complain about, with a pool's name of unusual characters too"""
    config = pool("we_b-1", listen=["127.0.0.1:0", "udp:127.0.0.1:0"], workers=2) + pool("b", sleeper(), workers=1)
    with Master(config=config) as m:
        m.wait_ready()
        page = m.health("/metrics")
        equal(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8", "type")
        equal(promtool("check", "metrics", text=page.body), (0, ""), "promtool check metrics")


def test_rules():
    """The examples of alerts and of a scrape configuration are good"""
    status, text = promtool("check", "rules", f"{TOP}/examples/prometheus-alerts.yml")
    equal(status, 0, text)
    status, text = promtool("check", "config", f"{TOP}/examples/prometheus.yml")
    equal(status, 0, text)


def test_alerts_know_the_metrics():
    """Every metric that the alerts look at is on the page"""
    with open(f"{TOP}/examples/prometheus-alerts.yml", encoding="utf-8") as file:
        wanted = set(re.findall(r"\bpreforkd_[a-z_]+\b", file.read()))
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        found = {name.split("{")[0] for name in m.metrics()}
        equal(sorted(wanted - found), [], "metrics that there are not")


def restarts(m, reason):
    return m.metrics()[f'preforkd_worker_restarts_total{{pool="main",reason="{reason}"}}']


def test_counters_move():
    """Each kind of event moves its counter"""
    config = pool(command=server(), listen="127.0.0.1:0", workers=2, min_uptime="20ms",
                  watchdog="10s", backoff="10ms", backoff_max="10ms")
    with Master(config=config, control=os.path.join(folder(), "control")) as m:
        m.wait_ready()
        before = m.metrics()
        equal(before['preforkd_workers{pool="main",state="ready"}'], 2, "ready workers")
        equal(before['preforkd_worker_start_seconds_count{pool="main"}'], 2, "starts")
        os.kill(m.in_slot(0), signal.SIGKILL)
        wait_until(lambda: restarts(m, "signal") == 1, "signal")
        os.kill(m.in_slot(0), signal.SIGTERM)
        wait_until(lambda: restarts(m, "exit") + restarts(m, "signal") == 2, "an end by itself")
        m.order("restart?pool=main&slot=1")
        equal(restarts(m, "manual"), 1, "manual")
        m.order("reload")
        equal(restarts(m, "reload"), 2, "reload")
        write(os.path.basename(m.config_path), config.replace("workers = 2", "workers = x"))
        m.order("reload", "failed")
        after = m.metrics()
        equal((after['preforkd_reloads_total{result="ok"}'],
               after['preforkd_reloads_total{result="failed"}'],
               after["preforkd_last_reload_success"]), (1, 1, 0), "reloads")
        equal(after["preforkd_generation"], 2, "generation")
        check(after['preforkd_worker_start_seconds_count{pool="main"}'] >= 5, "starts")
        check(after["preforkd_up_seconds"] > before["preforkd_up_seconds"], "up")


def test_start_timeout():
    """A start that takes too long is counted as that"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--start-timeout", "100ms", "--backoff", "10ms",
                "--ready", "notify", "--", *quiet_server()) as m:
        wait_until(lambda: m.count_log("health on") and restarts(m, "start_timeout") >= 2, "counter")


def test_queue():
    """Waiting connections are counted for their slot and listener"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        os.kill(m.in_slot(0), signal.SIGSTOP)
        waiting = [connect(m.address()) for _ in range(5)]
        name = f'preforkd_accept_queue{{pool="main",slot="0",listener="{m.address()}"}}'
        wait_until(lambda: m.metrics()[name] == 5, "five in the queue")
        for sock in waiting:
            sock.close()
        os.kill(m.in_slot(0), signal.SIGCONT)


def test_figures_of_processes():
    """Memory, CPU and descriptors are those of /proc"""
    with Master("-w", "1", "--", "/bin/sh", "-c", "while :; do :; done") as m:
        wait_until(lambda: m.count_log("health on") and m.workers(), "a worker")
        name = '{pool="main",slot="0"}'
        wait_until(lambda: m.metrics().get("preforkd_worker_cpu_seconds_total" + name, 0) > 0.3, "CPU")
        metrics = m.metrics()
        memory = metrics["preforkd_worker_resident_memory_bytes" + name] / 1024
        real = proc.rss_kb(m.workers()[0])
        check(abs(memory - real) < 1024, f"memory of the worker: {memory} instead of {real} kB")
        real = proc.rss_kb(m.pid)
        memory = metrics["process_resident_memory_bytes"] / 1024
        check(abs(memory - real) < 1024, f"memory of the master: {memory} instead of {real} kB")
        check(abs(metrics["process_open_fds"] - len(proc.fds(m.pid))) <= 2, "descriptors")
        check(abs(metrics["process_start_time_seconds"] - time.time()) < 300, "start")
        diag(f"master {real} kB")
        m.send(signal.SIGQUIT)
        m.wait()

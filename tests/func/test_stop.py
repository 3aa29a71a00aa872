"""Stopping: gracefully, fast, by accident; nothing stays behind."""
import fcntl
import os
import signal
import subprocess
import termios
import time

import proc
from harness import (PREFORKD, Hammer, Master, ask, check, connect, diag, equal, folder, matches,
                     need_other_user, parse_reply, read_all, read_until, server, sleeper, stays,
                     wait_until)


def elapsed(action):
    began = time.monotonic()
    action()
    return time.monotonic() - began


def test_term_and_int():
    """TERM and INT: an orderly end, status 0"""
    for number in (signal.SIGTERM, signal.SIGINT):
        with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
            m.wait_ready()
            equal(m.stop(number), 0, f"exit status after {number.name}")


def test_exit_status():
    """shutdown-exit-status is the status of an orderly end"""
    with Master("-w", "1", "--shutdown-exit-status", "42", "--", *sleeper()) as m:
        m.wait_ready()
        equal(m.stop(), 42, "exit status")


def test_requests_are_finished():
    """Requests that were accepted before TERM are answered"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server("--request-delay=700")) as m:
        m.wait_ready()
        with connect(m.address()) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            wait_until(lambda: proc.queue(m.port()) == 0, "the request was accepted")
            time.sleep(0.1)  # into the delay; earlier is as good
            m.send(signal.SIGTERM)
            equal(parse_reply(read_all(sock)).status, 200, "answer")
        equal(m.wait(), 0, "exit status")


def test_second_term():
    """A second TERM cuts straight to the kill"""
    with Master("-w", "2", "--stop-timeout", "1h", "--", *server("--ignore-term")) as m:
        m.wait_ready()
        m.send(signal.SIGTERM)
        stays(lambda: m.process.poll() is None, 0.5, "the master does not wait for its workers")
        took = elapsed(lambda: m.stop(timeout=5))
        diag(f"end {took * 1000:.0f} ms after the second TERM")


def test_quit():
    """QUIT kills at once"""
    with Master("-w", "2", "--stop-timeout", "1h", "--drain-delay", "1h", "--",
                *server("--ignore-term")) as m:
        m.wait_ready()
        took = elapsed(lambda: m.stop(signal.SIGQUIT, timeout=5))
        diag(f"end {took * 1000:.0f} ms after QUIT")


def replaced_with_grandchild(m):
    """Reloads while each worker has a grandchild. When the old worker has ended that one must end
    too, by the hand of the master that goes on, not by its last sweep."""
    m.wait_ready()
    old = proc.descendants(m.pid)
    equal(len(old), 2, "worker and grandchild")
    m.reload()
    wait_until(lambda: not [pid for pid in old if proc.alive(pid)], "the old ones' end", 5)
    m.send(signal.SIGQUIT)
    m.wait()


def test_stop_timeout_kills_group():
    """After stop-timeout KILL reaches the whole process group, also a stubborn grandchild"""
    with Master("-w", "1", "--stop-timeout", "500ms", "--min-uptime", "10ms", "--",
                *server("--ignore-term", "--grandchild")) as m:
        took = elapsed(lambda: replaced_with_grandchild(m))
        check(took >= 0.5, "the worker was not given stop-timeout")
        matches(m.log(), "did not stop in time", "log")


def test_graceful_leaves_no_grandchild():
    """A worker that ends gracefully but leaves a grandchild: that is killed as well"""
    with Master("-w", "1", "--min-uptime", "10ms", "--", *server("--grandchild")) as m:
        replaced_with_grandchild(m)
        check("did not stop in time" not in m.log(), "the worker had to be killed")


def test_last_sweep():
    """At the end of the master nothing of its workers' families is left"""
    with Master("-w", "2", "--stop-timeout", "300ms", "--",
                *server("--ignore-term", "--grandchild")) as m:
        m.wait_ready()
        equal(len(proc.descendants(m.pid)), 4, "workers and grandchildren")
        equal(m.stop(timeout=10), 0, "exit status")


def test_stop_signal():
    """stop-signal is sent in place of TERM, to the worker's own process only"""
    with Master("-w", "1", "--stop-signal", "USR1", "--stop-timeout", "400ms", "--",
                *server("--grandchild")) as m:
        m.wait_ready()
        m.stop()
        equal(m.count_log(f"server: got signal {signal.SIGUSR1:d}"), 1, "USR1 that arrived")


def test_drain_delay():
    """drain-delay: readiness is 503 at once, yet everything is served until it is over"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--drain-delay", "3s", "--", *server()) as m:
        m.wait_ready()
        workers = m.workers()
        with Hammer(m.address(), clients=4, rate=200, seconds=30) as load:
            began = time.monotonic()
            m.send(signal.SIGTERM)
            wait_until(lambda: not m.is_ready(), "readiness 503", timeout=2)
            while time.monotonic() < began + 1.5:
                ask(m.address())
                equal(m.workers(), workers, "workers that serve during the delay")
            load.expect_clean()
        equal(m.wait(), 0, "exit status")
        check(time.monotonic() - began >= 3, "it did not wait for the drain delay")


def test_drain_delay_in_kubernetes():
    """Inside Kubernetes the drain delay is 5 s; a second TERM cuts it short"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server(),
                env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) as m:
        m.wait_ready()
        m.send(signal.SIGTERM)
        wait_until(lambda: not m.is_ready(), "readiness 503", timeout=2)
        stays(lambda: m.health("/healthz/liveness").status == 200, 1, "liveness")
        m.who()
        check(elapsed(lambda: m.stop(timeout=5)) < 3, "the second TERM cut nothing short")


def master_killed(m):
    """Kills the master; how long its workers then lived."""
    m.wait_ready()
    workers = proc.descendants(m.pid)
    check(workers, "there are workers")
    m.kill()
    began = time.monotonic()
    wait_until(lambda: not [pid for pid in workers if proc.alive(pid)], "the workers' end", 1)
    diag(f"no worker left {(time.monotonic() - began) * 1000:.0f} ms after the master's KILL")


def test_master_killed():
    """SIGKILL of the master: within 1 s no worker is left"""
    with Master("-w", "8", "-l", "127.0.0.1:0", "--", *server()) as m:
        master_killed(m)


def test_master_killed_other_user():
    """SIGKILL of the master: no worker is left either when workers run as another user"""
    need_other_user()
    with Master("-w", "8", "-l", "127.0.0.1:0", "--user", "nobody", "--", *server()) as m:
        master_killed(m)


def test_hup_during_stop():
    """HUP while it stops is ignored"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--drain-delay", "700ms", "--", *server()) as m:
        m.wait_ready()
        m.send(signal.SIGTERM)
        wait_until(lambda: not m.is_ready(), "readiness 503", timeout=2)
        m.send(signal.SIGHUP)
        equal(m.wait(), 0, "exit status")
        equal(m.count_log("reload begins"), 0, "reloads")


def test_term_during_reload():
    """TERM during a reload gives it up and stops in order"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--min-uptime", "1h", "--", *server()) as m:
        m.wait_ready()
        m.send(signal.SIGHUP)
        wait_until(lambda: len(m.workers()) == 5, "the next worker of the first slot")
        equal(m.stop(), 0, "exit status")


def test_term_during_start():
    """TERM before any worker is ready stops in order"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--ready", "notify", "--",
                *server("--start-delay=600000")) as m:
        wait_until(lambda: len(m.workers()) == 2, "workers")
        m.health_port()
        equal(m.stop(), 0, "exit status")


def test_term_during_backoff():
    """TERM while every slot waits for its next start stops at once"""
    with Master("-w", "2", "--backoff", "1h", "--backoff-max", "1h", "--",
                *server("--crash-start=3")) as m:
        wait_until(lambda: m.count_log("next start in") == 2, "both slots wait")
        check(elapsed(lambda: m.stop(timeout=5)) < 3, "it waited for something")


def on_terminal(command):
    """Starts a command as the leader of a session: (process, other end of its terminal)."""
    ours, theirs = os.openpty()

    def take_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs,
                               start_new_session=True, preexec_fn=take_terminal)
    os.close(theirs)
    return process, ours


def closed_terminal(command):
    process, terminal = on_terminal(command)
    try:
        read_until(terminal, "ready after")
        below = proc.descendants(process.pid)
        check(below, "there are workers")
        os.close(terminal)
        wait_until(lambda: process.poll() is not None, "the end of the terminal's session")
        wait_until(lambda: not [pid for pid in below if proc.alive(pid)], "the workers' end")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_closed_terminal():
    """Closing the terminal that it runs in ends everything"""
    closed_terminal([PREFORKD, "--health", "off", "-w", "2", "--", *sleeper()])


def test_closed_terminal_below_shell():
    """Closing the terminal of the shell that it was started from ends everything"""
    closed_terminal(["/bin/sh", "-c", f"{PREFORKD} --health off -w 2 -- {sleeper()[0]}; true"])


def test_interrupt_key():
    """The interrupt key of a terminal is one graceful stop: workers do not get it themselves"""
    process, terminal = on_terminal([PREFORKD, "--health", "off", "-w", "2", "--", *server()])
    text = read_until(terminal, "ready after")
    while text.count("ready after") < 2:
        text += read_until(terminal, "ready after")
    os.write(terminal, b"\x03")
    equal(process.wait(10), 0, "exit status")
    os.close(terminal)


def test_unix_socket_is_removed():
    """The file of a Unix listener and the pidfile are gone after the end"""
    path, pidfile = os.path.join(folder(), "web.sock"), os.path.join(folder(), "main.pid")
    with Master("-w", "1", "-l", f"unix:{path}", "--pidfile", pidfile, "--", *server()) as m:
        m.wait_ready()
        ask(f"unix:{path}")
    check(not os.path.exists(path) and not os.path.exists(pidfile), "a file is left")

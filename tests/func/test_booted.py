"""The unit files under a systemd of their own."""
import os
import re
import signal
import time

from booted import Booted
from harness import (ask, check, connect, diag, equal, matches, parse_reply, parse_who, proc,
                     read_all, skip, timeout)

SERVER = "/build/tests/workers/server --notify"
CONFIG = "/usr/local/etc/preforkd.conf"
WEB = f"[pool:web]\ncommand = {SERVER}\nlisten = 127.0.0.1:8080\nworkers = 2\nmin-uptime = 100ms\n"


def start(system, config=WEB, more=""):
    """The service with this configuration and a drop-in."""
    system.install_units()
    system.write(CONFIG, config)
    if more:
        system.write("/etc/systemd/system/preforkd.service.d/test.conf", f"[Service]\n{more}\n")
        system.run("systemctl", "daemon-reload")
    system.run("systemctl", "start", "preforkd")
    system.join_network()


def who():
    return parse_who(ask("127.0.0.1:8080"))


def expect_reload_fails(system, config, reason):
    system.write(CONFIG, config)
    done = system.call("systemctl", "reload", "preforkd")
    check(system.show("preforkd", "StatusText").startswith("web 2/2 ready"), "workers were lost")
    check(done.returncode != 0, "the reload did not fail")
    matches(system.run("journalctl", "-u", "preforkd", "--no-pager"), reason, "the log")
    equal(system.show("preforkd", "ActiveState"), "active", "state after a reload that failed")
    who()


@timeout(600)
def test_service():
    """Start, status, reload, stop, and how exposed it is"""
    with Booted() as system:
        start(system)
        equal(system.show("preforkd", "Type"), "notify", "type")
        system.wait_property("preforkd", "StatusText", "web 2/2 ready.*")
        master = system.main_pid("preforkd")
        check(proc.status(master)["Uid"].split()[0] != "0", "the master runs as root")
        equal(who().gen, 1, "generation")

        system.run("systemctl", "reload", "preforkd")
        equal({who().gen for _ in range(20)}, {2}, "generations after a reload")
        equal(system.main_pid("preforkd"), master, "the master after a reload")
        matches(system.run("preforkctl", "status"), r"^web +0 +up ", "status")
        expect_reload_fails(system, WEB + "workres = 3\n", "workres")
        expect_reload_fails(system, WEB.replace("--notify", "--crash-start=1"),
                            "reload failed: web slot 0: exited with status 1")

        exposure = system.run("systemd-analyze", "security", "--no-pager", "preforkd")
        diag(exposure.splitlines()[-1])
        check(float(matches(exposure, r"level for preforkd.service: ([\d.]+)", "score").group(1)) < 3,
              "the service is exposed")

        began = time.monotonic()
        system.run("systemctl", "stop", "preforkd")
        diag(f"stopped in {time.monotonic() - began:.2f} s")
        equal(system.show("preforkd", "Result"), "success", "result")


@timeout(600)
def test_notify_reload():
    """Type=notify-reload: systemctl reload waits for the end, also of a reload that fails"""
    with Booted() as system:
        if int(re.search(r"\d+", system.run("systemctl", "--version")).group()) < 253:
            skip("systemd is older than 253")
        start(system, more="Type=notify-reload\nExecReload=")
        system.run("systemctl", "reload", "preforkd")
        equal({who().gen for _ in range(20)}, {2}, "generations after a reload")
        system.write(CONFIG, WEB.replace("--notify", "--crash-start=1"))
        system.run("systemctl", "reload", "preforkd")
        matches(system.show("preforkd", "StatusText"), "reload failed", "status")
        equal({who().gen for _ in range(20)}, {2}, "generations after a reload that failed")


@timeout(600)
def test_stop_within_limits():
    """A worker that ignores TERM: stop-timeout ends the stop, before TimeoutStopSec would"""
    with Booted() as system:
        start(system, WEB.replace("--notify", "--notify --ignore-term") + "stop-timeout = 2s\n")
        began = time.monotonic()
        system.run("systemctl", "stop", "preforkd")
        took = time.monotonic() - began
        diag(f"stopped in {took:.2f} s")
        check(2 <= took < 40, "the stop took too long, or too short")
        equal(system.show("preforkd", "Result"), "success", "result")


@timeout(600)
def test_watchdog():
    """A master that hangs is killed and comes again, without workers of the old one"""
    with Booted() as system:
        start(system, more="WatchdogSec=3")
        master, workers = system.main_pid("preforkd"), {who().pid for _ in range(20)}
        os.kill(master, signal.SIGSTOP)
        system.wait_property("preforkd", "NRestarts", "1", 60)
        system.wait_property("preforkd", "ActiveState", "active", 60)
        check(system.main_pid("preforkd") != master, "the master is the same")
        check(workers.isdisjoint({who().pid for _ in range(20)}), "a worker is the same")
        matches(system.run("journalctl", "-u", "preforkd", "--no-pager"), "atchdog timeout", "the log")


def queue_up(system, count):
    """`count` requests that wait in the queues of workers which do not serve them."""
    for pid in proc.children(system.main_pid("preforkd")):
        os.kill(pid, signal.SIGSTOP)
    waiting = [connect("127.0.0.1:8080", timeout=60) for _ in range(count)]
    for sock in waiting:
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    return waiting


def expect_answers(waiting, what):
    answers = [parse_who(parse_reply(read_all(sock)).body) for sock in waiting]
    diag(f"{len(answers)} of {len(waiting)} queued requests answered after {what}")


@timeout(600)
def test_crash():
    """kill -9 of the master: none of 100 queued connections is lost, none of 100 new ones refused"""
    with Booted() as system:
        start(system, WEB + "stop-timeout = 1s\n") # they are stopped and cannot end by themselves
        system.wait_property("preforkd", "NFileDescriptorStore", "3")
        waiting = queue_up(system, 100)
        os.kill(system.main_pid("preforkd"), signal.SIGKILL)
        waiting += [connect("127.0.0.1:8080", timeout=60) for _ in range(100)]
        for sock in waiting[100:]:
            sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        expect_answers(waiting, "a crash of the master")
        system.wait_property("preforkd", "NRestarts", "1")
        system.wait_property("preforkd", "NFileDescriptorStore", "3")

        waiting = queue_up(system, 100)
        system.run("systemctl", "restart", "preforkd")
        expect_answers(waiting, "a restart")

        system.run("systemctl", "stop", "preforkd")
        system.wait_property("preforkd", "NFileDescriptorStore", "0")
        try:
            connect("127.0.0.1:8080")
            check(False, "a stopped service still accepts connections")
        except ConnectionRefusedError:
            pass


@timeout(600)
def test_socket_activation():
    """A socket unit holds the address: the first connection starts the service, none is refused
    while it is restarted"""
    with Booted() as system:
        system.install_units()
        system.write("/etc/systemd/system/preforkd.socket.d/test.conf",
                     "[Socket]\nListenStream=\nListenStream=127.0.0.1:8080\n")
        system.write(CONFIG, WEB.replace("listen = 127.0.0.1:8080\n", ""))
        system.run("systemctl", "daemon-reload")
        system.run("systemctl", "start", "preforkd.socket")
        equal(system.show("preforkd", "ActiveState"), "inactive", "state before the first connection")
        system.join_network()
        first = who()
        system.wait_property("preforkd", "ActiveState", "active")
        system.run("systemctl", "stop", "preforkd.service")
        check(who().pid != first.pid, "the worker is the same after a stop")
        equal(system.show("preforkd", "NFileDescriptorStore"), "1", "descriptors in the store")


@timeout(600)
def test_instances():
    """Two instances of the template run beside each other"""
    with Booted() as system:
        system.install_units()
        for number, name in enumerate(("one", "two")):
            system.write(f"/usr/local/etc/preforkd/{name}.conf",
                         f"[preforkd]\nhealth = 127.0.0.1:{8900 + number}\n" +
                         WEB.replace("8080", str(8080 + number)))
            system.run("systemctl", "start", f"preforkd@{name}")
        system.join_network()
        pids = {parse_who(ask(f"127.0.0.1:{8080 + number}")).pid for number in range(2)}
        equal(len(pids), 2, "workers that answered")
        system.run("systemctl", "reload", "preforkd@one")
        equal(who().gen, 2, "generation after a reload")
        equal(parse_who(ask("127.0.0.1:8081")).gen, 1, "generation of the other instance")

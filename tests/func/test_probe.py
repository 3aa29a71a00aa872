"""Probes of single workers through the address that all of them share."""
import os
import signal
import socket
import struct
import time

import proc
from harness import (Hammer, Master, check, diag, equal, need_ipv6, parse_reply, parse_who, pool,
                     quiet_server, read_all, server, stays, wait_until)
from test_balance import without_bpf

SLOTS = 8
IPV6_FLOWLABEL_MGR, IPV6_FLOWINFO_SEND = 32, 33


def from_ip4(slot):
    """A socket bound to the address of a slot's probes."""
    sock = socket.socket()
    sock.bind((f"127.77.{slot >> 8}.{slot & 255}", 0))
    return sock, ()


def from_ip6(slot):
    """The same in IPv6: there the flow label says it."""
    label = 0x4d000 + slot
    sock = socket.socket(socket.AF_INET6)
    sock.bind(("::1", 0))
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0xac)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWLABEL_MGR,
                    socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(">I", label) +
                    struct.pack("=BBHHHI", 0, 255, 1, 0, 0, 0))
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1)
    return sock, (label, 0)


def answered_by(host, port, source, slot):
    sock, more = source(slot)
    with sock:
        sock.settimeout(20)
        sock.connect((host, port, *more))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return parse_who(parse_reply(read_all(sock)).body).slot


def expect_all_reached(listen, host, source, **master):
    with Master("-w", str(SLOTS), "-l", listen, "--probe", "/", "--min-uptime", "10ms", "--",
                *server(), **master) as m:
        m.wait_ready()
        right = sum(answered_by(host, m.port(), source, i % SLOTS) == i % SLOTS
                    for i in range(800))
        diag(f"{right} of 800 probes to {listen} reached their slot")
        equal(right, 800, "probes that reached their slot")


def test_reach_ip4():
    """800 probes by IPv4: each reaches the slot that it is meant for"""
    expect_all_reached("127.0.0.1:0", "127.0.0.1", from_ip4)


def test_reach_ip6():
    """800 probes by IPv6: each reaches the slot that it is meant for"""
    need_ipv6()
    expect_all_reached("[::1]:0", "::1", from_ip6)


def test_reach_dual():
    """800 probes by IPv4 to an address of both families"""
    need_ipv6()
    expect_all_reached("*:0", "127.0.0.1", from_ip4)


def test_reach_classic():
    """The same without CAP_BPF, by IPv4 and IPv6"""
    expect_all_reached("127.0.0.1:0", "127.0.0.1", from_ip4, wrapper=without_bpf())
    need_ipv6()
    expect_all_reached("[::]:0", "::1", from_ip6, wrapper=without_bpf())


# ---- workers that do not serve ----

OFTEN = ("--probe-interval", "100ms", "--probe-timeout", "1s", "--probe-failures", "3",
         "--min-uptime", "10ms", "--stop-timeout", "1s")


def expect_replaced(probe, listen="127.0.0.1:0"):
    """A worker that is stopped is replaced, and no other."""
    with Master("-w", "4", "-l", listen, "--probe", probe, *OFTEN, "--", *server()) as m:
        m.wait_ready()
        before = {who.slot: who.pid for who in m.wait_table(4)}
        time.sleep(1)  # probes that all pass
        equal(m.count_log("probe failed"), 0, "failed probes")
        os.kill(before[2], signal.SIGSTOP)
        m.wait_log(r"failed 3 probes in a row")
        wait_until(lambda: m.in_slot(2) != before[2], "a successor in slot 2")
        after = {who.slot: who.pid for who in m.wait_table(4)}
        equal({slot for slot in before if before[slot] != after[slot]}, {2}, "slots replaced")


def test_http():
    """A worker that answers no probe is replaced, the others stay"""
    expect_replaced("/healthz")


def test_tcp():
    """tcp: so is one that does not accept, though the kernel completes its connections"""
    expect_replaced("tcp")


def test_http_ip6():
    """The same on an IPv6 address"""
    need_ipv6()
    expect_replaced("/", "[::1]:0")


def test_bad_status():
    """A worker that answers an error is replaced"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--probe", "/", *OFTEN, "--",
                *server("--error=503", "--only-slot=1")) as m:
        m.wait_ready()
        first = m.in_slot(0)
        m.wait_log(r"failed 3 probes in a row, the last with: answered 503")
        equal(m.in_slot(0), first, "the good worker")


# ---- ready = probe ----

def test_ready():
    """ready = probe: a worker is ready when it answers, and not before"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--probe", "/", "--ready", "probe", "--ready-delay",
                "10ms", "--", *quiet_server("--start-delay=1500")) as m:
        m.wait_log("started")
        stays(lambda: not m.is_ready(), 0.7, "not ready")
        m.wait_ready()
        for took in m.wait_log(r"ready after (\d+) ms").groups():
            check(int(took) >= 1500, f"ready after {took} ms already")


def test_ready_says():
    """READY=1 is not enough for ready = probe"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--probe", "/", "--ready", "probe",
                "--start-timeout", "1s", "--", *server("--error=503")) as m:
        m.wait_log("failed start")
        equal(m.count_log("ready after"), 0, "workers that became ready")


def config(command, **settings):
    return pool(command=command, workers=2, listen="127.0.0.1:0", ready="probe", probe="/",
                min_uptime="100ms", start_timeout="3s", **settings)


def test_reload():
    """A reload under load with ready = probe: the next workers are found beside the old ones"""
    with Master(config=config(quiet_server())) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=4, rate=200, seconds=60) as load:
            for _ in range(3):
                m.reload()
            load.expect_clean()
        m.wait_table(2, gen=4)


def test_reload_of_silent():
    """What the old worker answers does not make the next one ready: the reload fails"""
    with Master(config=config(quiet_server())) as m:
        m.wait_ready()
        before = m.workers()
        m.write_config(config(quiet_server("--never-ready")))
        m.reload(outcome=r"reload failed")
        m.wait_table(2, gen=1)
        equal(m.workers(), before, "the old workers")


# ---- nothing to probe ----

def test_idle():
    """Without probes nothing is woken up; with them only as often as they are due"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--probe", "tcp", "--probe-interval", "1h",
                "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        time.sleep(1)
        before = proc.switches(m.pid)
        time.sleep(3)
        check(proc.switches(m.pid) - before <= 5, "woken up without a probe that is due")


def test_refused():
    """What cannot be probed is refused"""
    for args, reason in ((("-l", "0", "--accept", "shared"), "must be per-worker with probe"),
                         (("-l", "udp:127.0.0.1:0", "--adopt", "off"), "no TCP address"),
                         (("-l", "0", "--probe", "x"), "neither off, nor tcp, nor a path")):
        status, log = Master("--probe", "/", *args, "--", *server()).run()
        equal(status, 2, "exit status")
        check(reason in log, f"{reason!r} is not in {log!r}")

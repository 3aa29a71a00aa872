"""How new connections are spread over the workers: in turn, and by chance where that cannot be."""
import collections
import re
import subprocess

from harness import (PREFORKD, ROOT, Master, check, connect, diag, equal, need_program,
                     parse_reply, parse_who, read_all, server, skip)

ROUND_ROBIN = ("-w", "8", "-l", "127.0.0.1:0", "--balance", "round-robin", "--min-uptime", "10ms",
               "--")


def need_ebpf():
    """Loudly: this is what the setting is for."""
    row = re.search(r"^reuseport eBPF +(.*)", subprocess.run(
        [PREFORKD, "--features"], capture_output=True, text=True, check=True).stdout, re.MULTILINE)
    if not row.group(1).startswith("yes"):
        diag(f"SKIPPED for want of CAP_BPF: round-robin is not tested: {row.group(0)}")
        skip("no eBPF here")


def without_bpf():
    """A wrapper that takes the right to load eBPF programs, where there is one to take."""
    return [] if not ROOT else [need_program("setpriv"), "--bounding-set=-bpf,-sys_admin"]


def idle_connections(m, count):
    """Opens that many, which do nothing, and then asks each who has it: Counter of slots."""
    socks = [connect(m.address(), timeout=20) for _ in range(count)]
    for sock in socks:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    slots = collections.Counter(parse_who(parse_reply(read_all(sock)).body).slot for sock in socks)
    for sock in socks:
        sock.close()
    return slots


def test_round_robin():
    """400 idle connections over 8 workers: each has 50"""
    need_ebpf()
    with Master(*ROUND_ROBIN, *server()) as m:
        m.wait_ready()
        slots = idle_connections(m, 400)
        share = max(slots.values()) / (400 / 8)
        diag(f"per slot: {sorted(slots.items())}, max/mean {share:.3f}")
        equal(len(slots), 8, "slots with connections")
        check(share <= 1.02, "one worker has too many")
        equal(m.count_log("round-robin"), 0, "warnings")


def test_round_robin_without_right():
    """Without CAP_BPF round-robin is random, with one warning; no worker goes without"""
    with Master(*ROUND_ROBIN, *server(), wrapper=without_bpf()) as m:
        m.wait_ready()
        slots = idle_connections(m, 400)
        diag(f"per slot: {sorted(slots.items())}")
        equal(len(slots), 8, "slots with connections")
        m.reload()
        equal(m.count_log("balance = round-robin needs CAP_BPF"), 1, "warnings")

"""How new connections are spread over the workers, which CPUs these use, and what moves when a worker
shuts its socket down."""
import collections
import os
import re
import subprocess

import proc
from harness import (PREFORKD, QUICK, ROOT, Hammer, Master, check, connect, diag, equal, need_program,
                     parse_reply, parse_who, pool, read_all, server, skip, sleeper, timeout)

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


def allowed(pid):
    return proc.status(pid)["Cpus_allowed_list"].strip()


def expect_affinity(cpus, wrapper=()):
    """Four workers on these CPUs in turn."""
    with Master("-w", "4", "--cpu-affinity", "auto", "--min-uptime", "10ms", "--", *sleeper(),
                wrapper=wrapper) as m:
        m.wait_ready()
        equal([allowed(who.pid) for who in m.wait_table(4)],
              [str(cpus[slot % len(cpus)]) for slot in range(4)], "CPUs of the workers")
        check(allowed(m.pid) != "" and len(os.sched_getaffinity(m.pid)) == len(cpus),
              "the master may use as many as before")


def test_affinity():
    """cpu-affinity = auto: slot i is on the i-th CPU that the master may use"""
    cpus = sorted(os.sched_getaffinity(0))
    expect_affinity(cpus)
    expect_affinity(cpus[-1:], [need_program("taskset"), "-c", str(cpus[-1])])


def test_affinity_and_balance():
    """balance = cpu: a connection goes to the worker on the CPU that received it"""
    cpus = sorted(os.sched_getaffinity(0))
    with Master("-w", str(len(cpus)), "-l", "127.0.0.1:0", "--cpu-affinity", "auto", "--balance",
                "cpu", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        m.wait_table(len(cpus))
        try:
            for slot, cpu in enumerate(cpus):
                os.sched_setaffinity(0, {cpu})  # the loopback receives where it is sent
                equal({m.who().slot for _ in range(20)}, {slot}, f"slots for CPU {cpu}")
        finally:
            os.sched_setaffinity(0, cpus)


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


@timeout(120)
def test_reload_of_those_that_shut_down():
    """Workers that shut their listening socket down on TERM: reloads under load lose nothing"""
    need_ebpf()
    config = pool(command=server("--shutdown-at-term"), workers=4, listen="127.0.0.1:0",
                  min_uptime="100ms")  # slower than what counts as a worker that does nothing else
    with Master(config=config) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=16, seconds=60) as load:
            for _ in range(4 if QUICK else 20):
                m.reload()
            r = load.show()
        equal(r["refused"], 0, "refused connections")
        equal(r["failed"], 0, "failed requests")

"""Adoption: which sockets are given, for how long, and how a worker that binds becomes ready."""
import os
import signal
import socket

import proc
from harness import (QUICK, RELOAD_FAILED, Hammer, Master, ask, can_bind, check, connect, diag,
                     equal, expect_queue_survives, folder, free_port, matches, need_ipv6, pool,
                     server, stays, timeout, wait_until, write)
from servers import binder, need_foreign_calls, own_sockets, wait_listens

FAST = ("--min-uptime", "10ms", "--backoff", "20ms")
LOCAL = "127.0.0.1"


def free_ports(count):
    """Different ones."""
    ports = set()
    while len(ports) < count:
        ports.add(free_port())
    return sorted(ports)


def master(ports, *args, **options):
    """A master whose workers bind these ports."""
    m = Master(*args, **options)
    m.ports.update(ports)
    return m


def refuses(address):
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def has_socket(pid, inode):
    return f"socket:[{inode}]" in proc.fds(pid).values()


def who_answers(address, count):
    """{slot: pid} of so many workers."""
    seen = {}
    wait_listens(address)

    def all_seen():
        text = ask(address)
        found = matches(text, r"pid=(\d+) slot=(\d+)", "answer")
        seen[int(found.group(2))] = int(found.group(1))
        return len(seen) == count
    wait_until(all_seen, f"answers from {count} slots at {address}")
    return seen


# ---- which sockets ----

def test_wildcard_is_narrowed():
    """A server that binds all addresses gets the listener's one address, also from [::]"""
    for host, needed in (("0.0.0.0", lambda: None), ("[::]", need_ipv6)):
        needed()
        port = free_port()
        with master([port], "-w", "2", "-l", f"{LOCAL}:{port}", "--",
                    *binder(f"{host}:{port}")) as m:
            m.wait_ready()
            who_answers(f"{LOCAL}:{port}", 2)
            equal(own_sockets(f"{LOCAL}:{port}")[0]["host"], LOCAL, "address")
            check(refuses(f"127.0.0.2:{port}"), "another address is served")


def test_specific_is_not_widened():
    """A server that binds 127.0.0.1 serves 127.0.0.1 only, whatever else is shared"""
    port = free_port()
    with master([port], "-w", "2", "--", *binder(f"{LOCAL}:{port}")) as m:
        m.wait_ready()
        who_answers(f"{LOCAL}:{port}", 2)
        equal(own_sockets(f"{LOCAL}:{port}")[0]["host"], LOCAL, "address")
        check(refuses(f"127.0.0.2:{port}"), "another address is served")


def test_specific_beside_wildcard():
    """With --listen PORT a server that binds 127.0.0.1:PORT gets a socket for 127.0.0.1"""
    port = free_port()
    with master([port], "-w", "2", "-l", f"0.0.0.0:{port}", "--", *binder(f"{LOCAL}:{port}")) as m:
        m.wait_ready()
        who_answers(f"{LOCAL}:{port}", 2)
        equal(own_sockets(f"{LOCAL}:{port}")[0]["host"], LOCAL, "address")


def test_udp_is_untouched():
    """A datagram socket on the port of a stream listener stays the server's own"""
    port = free_port()
    for host in (LOCAL, "0.0.0.0"):
        with master([port], "-w", "1", "-l", f"{LOCAL}:{port}", "--",
                    *binder(f"udp:{host}:{port}", f"{LOCAL}:{port}")) as m:
            m.wait_ready()
            dgram, stream = own_sockets(f"{LOCAL}:{port}")
            equal((dgram["type"], dgram["host"]), (str(int(socket.SOCK_DGRAM)), host), "socket")
            check(not has_socket(m.pid, dgram["inode"]), "the master has it")
            check(has_socket(m.pid, stream["inode"]), "the master lacks the stream socket")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                client.sendto(b"hello", (LOCAL, port))
                equal(client.recv(100), b"hello", "echo")


def test_listed_udp():
    """A datagram listener is given to those that bind its address"""
    port = free_port()
    with master([port], "-w", "2", "-l", f"udp:{LOCAL}:{port}", "-l", f"{LOCAL}:{port}", "--",
                *binder(f"udp:{LOCAL}:{port}", f"{LOCAL}:{port}")) as m:
        m.wait_ready()
        check(has_socket(m.pid, own_sockets(f"{LOCAL}:{port}")[0]["inode"]), "it has its own")


def test_unrelated_bind():
    """Port 0, and with adopt = listed other ports, stay the server's own"""
    port, other = free_ports(2)
    with master([port, other], "-w", "1", "-l", f"{LOCAL}:{port}", "--adopt", "listed", "--",
                *binder(f"{LOCAL}:{port}", f"{LOCAL}:{other}", f"{LOCAL}:0")) as m:
        m.wait_ready()
        mine, *others = own_sockets(f"{LOCAL}:{port}")
        check(has_socket(m.pid, mine["inode"]), "the listener was not given")
        for row in others:
            check(not has_socket(m.pid, row["inode"]), f"the master has port {row['port']}")
            ask(f"{LOCAL}:{row['port']}")


def test_port_zero_is_untouched():
    """Each worker that binds port 0 has a port of its own, also with adopt = auto"""
    port = free_port()
    with master([port], "-w", "2", "--", *binder(f"{LOCAL}:{port}", f"{LOCAL}:0")) as m:
        m.wait_ready()
        wait_listens(f"{LOCAL}:{port}", 2)
        ports = set()

        def both():
            ports.add(own_sockets(f"{LOCAL}:{port}")[1]["port"])
            return len(ports) == 2
        wait_until(both, "two different ports")


def test_second_port():
    """A second port of the program is shared too, listed and not"""
    first, second = free_ports(2)
    for listed in ([], ["-l", f"{LOCAL}:{first}"], ["-l", f"{LOCAL}:{first}", "-l",
                                                    f"{LOCAL}:{second}"]):
        with master([first, second], "-w", "3", *listed, "--",
                    *binder(f"{LOCAL}:{first}", f"{LOCAL}:{second}")) as m:
            m.wait_ready()
            for port in (first, second):
                who_answers(f"{LOCAL}:{port}", 3)
                equal(proc.listeners(port), 3, "sockets on the port")


def test_options_carry_over():
    """Socket options that the program set before bind are those of the socket it gets"""
    port = free_port()
    wanted = {"nonblock": "1", "nodelay": "1", "defer": "3", "rcvbuf": "131072", "listening": "1"}
    for listed in ([], ["-l", f"{LOCAL}:{port}"]):
        with master([port], "-w", "2", *listed, "--", *binder("--options", f"{LOCAL}:{port}")) as m:
            m.wait_ready()
            who_answers(f"{LOCAL}:{port}", 2)
            row = own_sockets(f"{LOCAL}:{port}")[0]
            equal({key: row[key] for key in wanted}, wanted, "options")


def test_backlog_is_ours():
    """A program's small backlog does not count: the configured one does"""
    port = free_port()
    for listed in ([], ["-l", f"{LOCAL}:{port}"]):
        with master([port], "-w", "1", "--backlog", "64", *listed, "--",
                    *binder(f"{LOCAL}:{port}")) as m:
            m.wait_ready()
            wait_listens(f"{LOCAL}:{port}")
            worker = m.in_slot(0)
            os.kill(worker, signal.SIGSTOP)
            waiting = [connect(f"{LOCAL}:{port}") for _ in range(60)]
            os.kill(worker, signal.SIGCONT)
            for sock in waiting:
                sock.close()


# ---- for how long ----

def first_time(first, then):
    """A command that is `first` while the file "flag" is there and then `then`."""
    path = write("flag", "")
    return ["/bin/sh", "-c", f"if test -e {path}; then exec {' '.join(first)}; fi; "
            f"exec {' '.join(then)}"]


def replace_worker(m, slot=0):
    old = m.in_slot(slot)
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: m.in_slot(slot) != old, "a replacement")


def test_never_listens():
    """A bind that is not followed by listen leaves nothing once the worker is gone"""
    port, silent = free_ports(2)
    command = first_time(binder(f"{LOCAL}:{port}", f"bind:{LOCAL}:{silent}"), ["sleep", "1000"])
    with master([port, silent], "-w", "1", "--ready", "listen", *FAST, "--", *command) as m:
        m.wait_ready()
        m.wait_log(rf"binds {LOCAL}:{silent}")
        check(refuses(f"{LOCAL}:{silent}"), "somebody listens")
        check(not can_bind(silent), "the worker did not bind")
        stays(lambda: True, 0.2, "min-uptime")
        os.unlink(f"{folder()}/flag")
        replace_worker(m)
        wait_until(lambda: can_bind(silent), "nobody has the port")
        equal(proc.listeners(port), 1, "sockets of the other port, whose queue survives")


def test_given_up_address():
    """An address that the successor does not ask for is given up, once it has proved itself"""
    port, other = free_ports(2)
    command = first_time(binder(f"{LOCAL}:{port}", f"{LOCAL}:{other}"), binder(f"{LOCAL}:{port}"))
    with master([port, other], "-w", "2", *FAST, "--", *command) as m:
        m.wait_ready()
        wait_until(lambda: proc.listeners(other) == 2, "sockets on the second address")
        os.unlink(f"{folder()}/flag")
        replace_worker(m, 0)
        replace_worker(m, 1)
        wait_until(lambda: proc.listeners(other) == 0, "nobody listens")
        wait_until(lambda: can_bind(other), "nobody has the port")
        who_answers(f"{LOCAL}:{port}", 2)


def test_queue_survives():
    """100 requests queued on an address that nobody listed: the successor answers them"""
    port = free_port()
    with master([port], "-w", "1", *FAST, "--", *binder(f"{LOCAL}:{port}")) as m:
        m.wait_ready()
        wait_listens(f"{LOCAL}:{port}")
        stays(lambda: True, 0.2, "min-uptime")
        expect_queue_survives(m, port)


def test_reload_to_other_port():
    """A reload to a version that binds another port: the old is given up, the new is shared"""
    old, new = free_ports(2)
    config = pool(command=binder(f"{LOCAL}:{old}"), workers=3, min_uptime="20ms")
    with master([old, new], config=config) as m:
        m.wait_ready()
        who_answers(f"{LOCAL}:{old}", 3)
        m.write_config(config.replace(str(old), str(new)))
        m.reload()
        who_answers(f"{LOCAL}:{new}", 3)
        equal(proc.listeners(new), 3, "sockets on the new port")
        wait_until(lambda: proc.listeners(old) == 0, "nobody listens on the old port")


def test_failed_reload_keeps_port():
    """A reload to a version that binds another port and crashes: the old port serves on"""
    old, new = free_ports(2)
    config = pool(command=binder(f"{LOCAL}:{old}"), workers=2, min_uptime="20ms")
    with master([old, new], config=config) as m:
        m.wait_ready()
        wait_listens(f"{LOCAL}:{old}", 2)
        with Hammer(f"{LOCAL}:{old}", clients=4, rate=200, seconds=60) as load:
            m.write_config(pool(command=binder("--exit=3", f"{LOCAL}:{new}"), workers=2,
                                min_uptime="20ms"))
            for _ in range(5):
                matches(m.reload(RELOAD_FAILED).group(0), "status 3", "reason")
            load.expect_clean()
        equal(proc.listeners(old), 2, "sockets on the old port")
        wait_until(lambda: can_bind(new), "nobody has the new port")


def test_scaled_away():
    """A slot that is scaled away takes its socket of an unlisted address with it: 0 refused"""
    port = free_port()
    with master([port], "-w", "1", *FAST, "--", *binder(f"{LOCAL}:{port}")) as m:
        m.wait_ready()
        wait_listens(f"{LOCAL}:{port}")
        with Hammer(f"{LOCAL}:{port}", clients=4, rate=300, seconds=60) as load:
            for number, wanted in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2),
                                   (signal.SIGTTOU, 1)):
                m.send(number)
                m.wait_table(wanted)
                wait_until(lambda: proc.listeners(port) == wanted, f"{wanted} sockets")
            equal(load.show()["refused"], 0, "refused")


@timeout(240)
def test_thousand_starts():
    """1,000 starts leak no descriptor of the master"""
    starts = 200 if QUICK else 1000
    port, other = free_ports(2)
    addresses = [f"{LOCAL}:{port}", f"{LOCAL}:{other}"]
    command = first_time(binder("--exit=0", *addresses), binder(*addresses))
    os.unlink(f"{folder()}/flag")
    with master([port, other], "-w", "4", "-l", f"{LOCAL}:{port}", "--min-uptime", "10ms",
                "--backoff", "1ms", "--backoff-max", "1ms", "--breaker-failures", "0", "-v",
                "--", *command) as m:
        m.wait_ready()
        for address in addresses:
            who_answers(address, 4)  # readiness does not wait for the second
        before = len(proc.fds(m.pid))
        write("flag", "")
        for pid in m.workers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: m.count_log(r"started, generation") >= starts, f"{starts} starts", 200)
        os.unlink(f"{folder()}/flag")
        for address in addresses:
            who_answers(address, 4)
        wait_until(lambda: len(proc.fds(m.pid)) <= before,
                   f"no more descriptors than before, {before}")
        diag(f"{m.count_log(r'started, generation')} starts, {before} descriptors before and after")


# ---- readiness ----

def test_listen_is_readiness():
    """A server that binds at once and listens after 2 s is ready after 2 s, not before"""
    port = free_port()
    for args in (["-l", f"{LOCAL}:{port}"], ["-l", f"{LOCAL}:{port}", "--ready", "listen"],
                 ["--ready", "listen"], []):
        with master([port], "-w", "1", "--ready-delay", "1500ms", *args, "--",
                    *binder("--listen-delay=2000", f"{LOCAL}:{port}")) as m:
            m.wait_ready()
            took = int(m.wait_log(r"ready after (\d+) ms").group(1))
            check(took >= 2000, f"{args}: ready after {took} ms")
            ask(f"{LOCAL}:{port}")


def test_slow_start():
    """ready = listen waits for a server that binds late; start-timeout limits that"""
    port = free_port()
    with master([port], "-w", "1", "--ready", "listen", "--ready-delay", "100ms", "--",
                *binder("--bind-delay=1000", f"{LOCAL}:{port}")) as m:
        m.wait_ready()
        check(int(m.wait_log(r"ready after (\d+) ms").group(1)) >= 1000, "it was ready too early")
    with master([port], "-w", "1", "--ready", "listen", "--start-timeout", "300ms",
                "--stop-timeout", "100ms", *FAST, "--",
                *binder("--bind-delay=60000", f"{LOCAL}:{port}")) as m:
        m.wait_log("failed start number 2")


# ---- where it does not work ----

def test_off():
    """adopt = off: a server that binds a listener's port fails, and the log tells why"""
    port = free_port()
    with master([port], "-w", "2", "-l", f"{LOCAL}:{port}", "--adopt", "off", *FAST, "--",
                *binder(f"{LOCAL}:{port}")) as m:
        m.wait_log("failed start number 2")
        matches(m.log(), "Address already in use", "what the server says")
        check(not m.is_ready(), "it counts as ready")


def test_unseen_bind():
    """A server that binds by system calls that are not seen is named within start-timeout"""
    need_foreign_calls()
    port = free_port()
    listen = ["-l", f"{LOCAL}:{port}"]
    server_command = binder("--foreign", "--reuseport", f"{LOCAL}:{port}")
    for args, delay, more in (
            (listen, "100ms", []),
            ([], "2s", []),  # without an address there is one look, at the end of the delay
            ([*listen, "--ready", "listen"], "100ms", []),
            (listen, "100ms", ["--notify"])):
        with master([port], "-w", "1", *args, "--start-timeout", "5s", "--stop-timeout", "1s",
                    "--ready-delay", delay, "--", *server_command, *more) as m:
            m.wait_log(rf"main\.0\[\d+\]: listens on 127\.0\.0\.1:{port} past adoption")
            equal(m.count_log("failed start"), 0, "failed starts before it was said")


def test_nested():
    """Under another supervisor's filter: one warning, and servers take inherited sockets"""
    port = free_port()
    inner = Master("-w", "2", "-l", f"{LOCAL}:{port}", "--", *server())
    with master([], "-w", "1", "--", *inner.args) as outer:
        wait_until(lambda: not refuses(f"{LOCAL}:{port}"), "the inner master listens")
        who_answers(f"{LOCAL}:{port}", 2)
        equal(outer.count_log(r"adoption does not work"), 1, "warnings")

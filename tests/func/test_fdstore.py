"""The service manager's descriptor store: what waits in the queues survives a crash of the master."""
import os
import signal
import socket

from harness import (Hammer, Master, Systemd, ask, check, connect, diag, equal, free_port,
                     parse_reply, parse_who, pool, proc, read_all, server, wait_until)
from servers import binder


def named(port, slot, kind="listed", name="main"):
    return f"preforkd.socket/{kind}/{name}/{slot}/127.0.0.1%3A{port}"


def wait_store(systemd, *names):
    """Until the store holds just these, beside the record of the order."""
    wanted = sorted([*names, "preforkd.order"])
    wait_until(lambda: systemd.poll() and sorted(systemd.store) == wanted,
               f"stored: {wanted}; there are {sorted(systemd.store)}")


def queue_up(m, port, count=100):
    """`count` requests in the queues of workers that do not serve them."""
    for pid in m.workers():
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda pid=pid: proc.stat(pid)[1] == "T", "the worker is stopped")
    waiting = [connect(f"127.0.0.1:{port}", timeout=20) for _ in range(count)]
    for sock in waiting:
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    wait_until(lambda: proc.queue(port) == count, f"{count} requests in the queues")
    return waiting


def crash(m):
    """Kills the master and then, as the manager would, what is left of its service."""
    workers = m.workers()
    m.kill()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(proc.alive(pid) for pid in workers), "the workers end")


def answers(waiting):
    found = [parse_who(parse_reply(read_all(sock)).body) for sock in waiting]
    for sock in waiting:
        sock.close()
    return found


def test_crash():
    """kill -9 of the master: 100 of 100 queued requests are answered by the next one's workers"""
    systemd = Systemd()
    port = free_port()
    args = ("-w", "4", "-l", f"127.0.0.1:{port}", "--", *server())
    with Master(*args, **systemd.hand_over()) as first:
        first.wait_ready()
        wait_store(systemd, *(named(port, slot) for slot in range(4)))
        waiting = queue_up(first, port)
        crash(first)
        equal(proc.queue(port), 100, "requests that wait while no master runs")
    with Master(*args, **systemd.hand_over()) as second:
        second.wait_ready()
        pids = {who.pid for who in answers(waiting)}
        check(pids <= set(second.workers()), "who answered")
        diag(f"100 of 100 queued requests answered by {len(pids)} new workers")
        second.wait_log(rf"127.0.0.1:{port}: 4 sockets taken over, 100 waiting")
        second.wait_slots(4)
        wait_store(systemd, *(named(port, slot) for slot in range(4)))


def test_crash_under_load():
    """Crash after crash under load: nobody is refused, only requests under way are lost"""
    systemd = Systemd()
    port = free_port()
    args = ("-w", "2", "-l", f"127.0.0.1:{port}", "--", *server())
    master = Master(*args, **systemd.hand_over()).start().wait_ready()
    with Hammer(f"127.0.0.1:{port}", clients=8) as hammer:
        for _ in range(5):
            wait_store(systemd, *(named(port, slot) for slot in range(2)))
            crash(master)
            master = Master(*args, **systemd.hand_over()).start().wait_ready()
        result = hammer.show()
    check(result["ok"] > 0, "no answers at all")
    equal((result["refused"], result["timeout"], result["bad"]), (0, 0, 0), "refused, timeout, bad")
    equal(master.stop(), 0, "exit status")


def test_discovered():
    """An address that a worker bound by itself: its queue survives too"""
    systemd = Systemd()
    port = free_port()
    args = ("-w", "2", "--", *binder(f"127.0.0.1:{port}"))
    with Master(*args, **systemd.hand_over()) as first:
        first.wait_ready()
        wait_store(systemd, *(named(port, slot, "found") for slot in range(2)))
        waiting = queue_up(first, port)
        crash(first)
    with Master(*args, **systemd.hand_over()) as second:
        second.wait_ready()
        check({who.pid for who in answers(waiting)} <= set(second.workers()), "who answered")
        wait_store(systemd, *(named(port, slot, "found") for slot in range(2)))


def test_port_zero():
    """A port that the kernel chose stays the same"""
    systemd = Systemd()
    args = ("-w", "2", "-l", "127.0.0.1:0", "--", *server())
    with Master(*args, **systemd.hand_over()) as first:
        first.wait_ready()
        port = first.port()
        wait_store(systemd, named(0, 0), named(0, 1))
        crash(first)
    with Master(*args, **systemd.hand_over()) as second:
        second.wait_ready()
        equal(second.port(), port, "port")


def test_shared_and_unix():
    """One socket for all slots, and a Unix socket"""
    systemd = Systemd()
    port = free_port()
    path = os.path.join(os.path.dirname(systemd.path), "web")
    args = ("-w", "2", "--accept", "shared", "-l", f"127.0.0.1:{port}", "-l", f"unix:{path}", "--",
            *server())
    names = (named(port, "all"), f"preforkd.socket/listed/main/all/unix%3A{path}")
    with Master(*args, **systemd.hand_over()) as first:
        first.wait_ready()
        wait_store(systemd, *names)
        inode = os.stat(path).st_ino
        waiting = queue_up(first, port)
        crash(first)
    with Master(*args, **systemd.hand_over()) as second:
        second.wait_ready()
        equal(len(answers(waiting)), 100, "answers")
        equal(os.stat(path).st_ino, inode, "the Unix socket's file")
        ask(f"unix:{path}")
        wait_store(systemd, *names)
    check(not os.path.exists(path), "the Unix socket's file is left behind")


def test_what_nobody_wants():
    """After a change of the settings: sockets of slots, addresses and pools that are gone are
    closed, further slots get sockets"""
    systemd = Systemd()
    kept, gone = free_port(), free_port()
    with Master(config=pool("web", listen=f"127.0.0.1:{kept}", workers=2) +
                pool("old", listen=f"127.0.0.1:{gone}", workers=1), **systemd.hand_over()) as m:
        m.wait_ready()
        wait_store(systemd, named(kept, 0, name="web"), named(kept, 1, name="web"),
                   named(gone, 0, name="old"))
        crash(m)
    with Master(config=pool("web", listen=f"127.0.0.1:{kept}", workers=3),
                **systemd.hand_over()) as m:
        m.wait_ready()
        m.wait_slots(3)
        wait_store(systemd, *(named(kept, slot, name="web") for slot in range(3)))
        try:
            connect(f"127.0.0.1:{gone}")
            check(False, "the address that is gone still accepts connections")
        except ConnectionRefusedError:
            pass
        crash(m)
    with Master(config=pool("web", listen=f"127.0.0.1:{kept}", workers=1),
                **systemd.hand_over()) as m:
        m.wait_ready()
        wait_store(systemd, named(kept, 0, name="web"))
        for _ in range(50):
            equal(m.who().slot, 0, "slot")


def test_what_is_in_the_way():
    """Sockets that are no longer wanted do not keep the address from new ones"""
    systemd = Systemd()
    port = free_port()
    for name, listen, more in (("web", "127.0.0.1", {}), ("web", "127.0.0.1", {"accept": "shared"}),
                               ("web", "0.0.0.0", {}), ("other", "0.0.0.0", {}),
                               ("other", "127.0.0.1", {})):
        config = pool(name, listen=f"{listen}:{port}", workers=2, **more)
        with Master(config=config, **systemd.hand_over()) as m:
            m.wait_ready()
            check(parse_who(ask(f"127.0.0.1:{port}")).pid in m.workers(), "who answered")
            wait_store(systemd, *(f"preforkd.socket/listed/{name}/{slot}/{listen}%3A{port}"
                                  for slot in (("all",) if more else (0, 1))))
            crash(m)


def test_changes_of_a_life():
    """Scaling and reloads keep the store up to date; what is stopped stays for a restart"""
    systemd = Systemd()
    first, second = free_port(), free_port()
    with Master(config=pool(listen=f"127.0.0.1:{first}", workers=1, min_uptime="20ms"),
                **systemd.hand_over()) as m:
        m.wait_ready()
        wait_store(systemd, named(first, 0))
        m.send(signal.SIGTTIN)
        wait_store(systemd, named(first, 0), named(first, 1))
        m.send(signal.SIGTTOU)
        wait_store(systemd, named(first, 0))
        m.write_config(pool(listen=f"127.0.0.1:{second}", workers=1, min_uptime="20ms"))
        m.reload()
        wait_store(systemd, named(second, 0))
    wait_store(systemd, named(second, 0))


def test_socket_activation_beside():
    """Sockets of a socket unit are listeners of their own and never stored"""
    systemd = Systemd()
    port = free_port()
    unit = socket.create_server(("127.0.0.1", 0))
    config = pool(listen=[f"127.0.0.1:{port}", "systemd:preforkd.socket"], workers=1)
    more = ("preforkd.socket", unit.fileno())
    with Master(config=config, **systemd.hand_over(more)) as m:
        m.wait_ready()
        wait_store(systemd, named(port, 0))
        crash(m)
    with Master(config=config, **systemd.hand_over(more)) as m:
        m.wait_ready()
        ask(f"127.0.0.1:{port}")
        ask(f"127.0.0.1:{unit.getsockname()[1]}")
        wait_store(systemd, named(port, 0))


def test_full_store():
    """A store that is too small is told once, and holds what it can"""
    systemd = Systemd()
    port = free_port()
    options = systemd.hand_over()
    options["env"]["FDSTORE"] = "3"
    with Master("-w", "4", "-l", f"127.0.0.1:{port}", "--", *server(), **options) as m:
        m.wait_ready()
        wait_until(lambda: systemd.poll() and len(systemd.store) == 3, "three descriptors")
        m.send(signal.SIGTTIN)
        m.wait_slots(5)
        equal(m.count_log("keeps 3 descriptors at most"), 1, "warnings")
        equal(len(systemd.store), 3, "descriptors")


def test_no_store():
    """Without FDSTORE nothing is sent"""
    systemd = Systemd()
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server(), env=systemd.env()) as m:
        m.wait_ready()
        systemd.wait("READY", "1")
        equal(systemd.keys().count("FDSTORE"), 0, "FDSTORE")


def test_broken_names():
    """Names that are not ours, or hold nonsense, are sockets of a socket unit"""
    unit = socket.create_server(("127.0.0.1", 0))
    systemd = Systemd()
    for name in ("preforkd.socket/listed/main/0/", "preforkd.socket/listed/main/x/127.0.0.1%3A80",
                 "preforkd.socket/other/main/0/127.0.0.1%3A80", "preforkd.socket/listed/main/0/%"):
        with Master("-w", "1", "--", *server(),
                    **systemd.hand_over((name, unit.fileno()))) as m:
            m.wait_ready()
            ask(f"127.0.0.1:{unit.getsockname()[1]}")
        systemd.forget()

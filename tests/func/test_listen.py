"""Listeners of every kind."""
import grp
import os
import signal
import socket
import stat

import proc
from harness import (Hammer, Master, activated, ask, check, connect, diag, equal, folder, free_port,
                     matches, need_ipv6, need_other_user, need_program, need_root, parse_who, pool,
                     server, wait_until, write)


def test_port_zero():
    """Port 0: the kernel chooses one port for all slots; each slot has a socket of its own"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        check(m.port() != 0, "the log tells the real port")
        equal(proc.listeners(m.port()), 4, "sockets on the port")
        m.wait_slots(4)
        sockets = {proc.fds(pid)[3] for pid in m.workers()}
        equal(len(sockets), 4, "different sockets")


def test_shared():
    """accept = shared: one socket for all"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--accept", "shared", "--", *server()) as m:
        m.wait_ready()
        equal(proc.listeners(m.port()), 1, "sockets on the port")
        equal(len({proc.fds(pid)[3] for pid in m.workers()}), 1, "different sockets")
        with Hammer(m.address(), clients=16, count=2000) as load:
            wait_until(lambda: load.process.poll() is not None, "the end of the load")
            load.expect_clean()


def test_spread():
    """Connections are spread over all slots"""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        m.wait_slots(4)
        with Hammer(m.address(), clients=16, count=4000) as load:
            wait_until(lambda: load.process.poll() is not None, "the end of the load")
            pids = load.expect_clean()["pids"]
        diag(f"4,000 connections: {sorted(pids.values())}")
        check(len(pids) == 4 and min(pids.values()) > 200, f"spread: {pids}")


def test_blocking_again():
    """A worker that made its socket non-blocking: the next finds it blocking again"""
    flag, told = write("flag", ""), os.path.join(folder(), "told")
    script = write("tell.py", "import fcntl, os, time\n"
                   "blocking = not fcntl.fcntl(3, fcntl.F_GETFL) & os.O_NONBLOCK\n"
                   f"open('{told}', 'w').write(str(blocking))\ntime.sleep(1000)\n")
    command = ["/bin/sh", "-c", f"test -e {flag} && exec {server()[0]} --notify; "
               f"exec {need_program('python3')} {script}"]
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *command) as m:
        m.wait_ready()
        m.who()
        os.unlink(flag)
        os.kill(m.in_slot(0), signal.SIGKILL)
        wait_until(lambda: os.path.exists(told) and os.path.getsize(told), "the next worker")
        with open(told, encoding="ascii") as file:
            equal(file.read(), "True", "blocking")


def test_unix():
    """A Unix listener with a mode; a stale file is replaced, a live one is not touched"""
    path = os.path.join(folder(), "web.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with Master("-w", "2", "-l", f"unix:{path},mode=0640", "--", *server()) as m:
        m.wait_ready()
        equal(stat.S_IMODE(os.stat(path).st_mode), 0o640, "mode")
        parse_who(ask(f"unix:{path}"))
        status, text = Master("-w", "1", "-l", f"unix:{path}", "--", *server()).run()
        equal(status, 1, f"exit status of a second master ({text})")
        matches(text, r"web\.sock", "reason")
        with Hammer(f"unix:{path}", clients=8, rate=500, seconds=20) as load:
            m.reload()
            load.expect_clean()
    check(not os.path.exists(path), "the socket file is left")


def test_unix_no_socket():
    """A file that is no socket is not removed"""
    path = os.path.join(folder(), "precious")
    with open(path, "w", encoding="ascii") as file:
        file.write("data")
    status, text = Master("-w", "1", "-l", f"unix:{path}", "--", *server()).run()
    equal(status, 1, f"exit status ({text})")
    equal(os.path.getsize(path), 4, "size of the file")


def test_unix_owner():
    """user and group of a Unix listener"""
    need_root()
    path, group = os.path.join(folder(), "web.sock"), grp.getgrgid(65534).gr_name
    with Master("-w", "1", "-l", f"unix:{path},mode=0600,user=nobody,group={group}", "--",
                *server()) as m:
        m.wait_ready()
        info = os.stat(path)
        equal((info.st_uid, info.st_gid), (65534, 65534), "owner")
        equal(stat.S_IMODE(info.st_mode), 0o600, "mode")


def test_unix_abstract():
    """An abstract Unix listener"""
    name = f"preforkd-test-{os.getpid()}"
    with Master("-w", "1", "-l", f"unix:@{name}", "--", *server()) as m:
        m.wait_ready()
        parse_who(ask(f"unix:\0{name}"))


def test_udp():
    """A UDP listener: workers answer, and a replaced one goes on"""
    with Master("-w", "2", "-l", "udp:127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        port = int(matches(m.log(), r"listening on udp:127\.0\.0\.1:(\d+)", "log").group(1))

        def echo():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(b"hello", ("127.0.0.1", port))
                text = sock.recv(1000).decode()
                check(text.endswith("hello"), f"answer {text!r}")
                return parse_who(text)
        equal({echo().slot for _ in range(50)}, {0, 1}, "slots that answered")
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_table(2)
        wait_until(lambda: echo().pid == m.in_slot(0), "an answer of the replacement")


def test_dual_stack():
    """A bare port is dual-stack: IPv4 and IPv6 by one socket a slot"""
    need_ipv6()
    port = free_port()
    with Master("-w", "2", "-l", str(port), "--", *server()) as m:
        m.wait_ready()
        parse_who(ask(f"127.0.0.1:{port}"))
        parse_who(ask(f"[::1]:{port}"))
        equal(proc.listeners(port), 2, "sockets on the port")
        equal(proc.environ(m.who().pid)["SERVER_STARTER_PORT"], f"{port}=3", "SERVER_STARTER_PORT")


def test_ipv6():
    """[::1]:0 listens on IPv6 only"""
    need_ipv6()
    with Master("-w", "1", "-l", "[::1]:0", "--", *server()) as m:
        m.wait_ready()
        parse_who(ask(m.address()))
        try:
            connect(f"127.0.0.1:{m.port()}").close()
        except ConnectionRefusedError:
            return
        check(False, "IPv4 is answered too")


def test_several():
    """Several listeners in the order of the command line, each served by every worker"""
    path = os.path.join(folder(), "web.sock")
    with Master("-w", "2", "-l", "127.0.0.1:0", "-l", f"unix:{path}", "-l", "127.0.0.1:0", "--",
                *server()) as m:
        m.wait_ready()
        for address in (m.address(0), f"unix:{path}", m.address(2)):
            parse_who(ask(address))
        env = proc.environ(m.workers()[0])
        equal((env["LISTEN_FDS"], env["EINHORN_FD_COUNT"]), ("3", "3"), "environment")
        check(f"{path}=4" in env["SERVER_STARTER_PORT"], env["SERVER_STARTER_PORT"])


def test_names():
    """name= becomes LISTEN_FDNAMES"""
    with Master("-w", "1", "-l", "127.0.0.1:0,name=http", "-l", "127.0.0.1:0,name=admin", "--",
                *server()) as m:
        m.wait_ready()
        equal(proc.environ(m.workers()[0])["LISTEN_FDNAMES"], "http:admin", "LISTEN_FDNAMES")


def test_backlog_is_capped():
    """A backlog above somaxconn is told in the log and works"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--backlog", "1000000", "--", *server()) as m:
        m.wait_ready()
        m.wait_log(r"somaxconn")
        m.who()


def test_socket_activation():
    """Sockets inherited by socket activation are served, and survive a reload"""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        wrapper, fds = activated(sock)
        with Master("-w", "2", "--min-uptime", "20ms", "--", *server(), wrapper=wrapper,
                    pass_fds=fds) as m:
            m.wait_ready()
            parse_who(ask(address))
            with Hammer(address, clients=8, rate=500, seconds=20) as load:
                m.reload()
                os.kill(m.in_slot(0), signal.SIGKILL)
                m.wait_table(2)
                check(load.show()["refused"] == 0, "refused")
            check("LISTEN_PID" in proc.environ(m.workers()[0]), "environment")


def test_socket_activation_by_name():
    """listen = systemd:NAME takes the inherited socket of that name"""
    with (socket.create_server(("127.0.0.1", 0)) as one,
          socket.create_server(("127.0.0.1", 0)) as two):
        wrapper, fds = activated(one, two)
        with Master("-w", "1", "-l", "systemd:second", "-l", "systemd:first", "--", *server(),
                    wrapper=wrapper, pass_fds=fds, env={"LISTEN_FDNAMES": "first:second"}) as m:
            m.wait_ready()
            for sock in (one, two):
                parse_who(ask(f"127.0.0.1:{sock.getsockname()[1]}"))
            equal(proc.environ(m.workers()[0])["LISTEN_FDNAMES"], "second:first", "LISTEN_FDNAMES")


def test_strangers_listen_pid():
    """LISTEN_FDS with another process's LISTEN_PID is not ours"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server(),
                env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as m:
        m.wait_ready()
        equal(proc.environ(m.who().pid)["LISTEN_FDS"], "1", "LISTEN_FDS of the worker")


def test_sockets_under_other_user():
    """With user=, a replaced worker and further workers still share the port"""
    need_other_user()
    config = pool(workers=2, listen="127.0.0.1:0", user="nobody", min_uptime="10ms")
    with Master(config=config) as m:
        m.wait_ready()
        m.wait_slots(2)
        m.write_config(config.replace("workers = 2", "workers = 4"))
        m.reload()
        m.wait_slots(4)

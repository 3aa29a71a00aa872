"""Adoption with many rights and with few, of the master and of its workers."""
import proc
from harness import (NOBODY, Master, as_in_container, as_nobody, can_bind, equal, free_port,
                     matches, need_other_user, need_root, skip, wait_until)
from servers import binder, need_foreign_calls, server_named

LOCAL = "127.0.0.1"
KINDS = ("python_http_server", "c_forking_each_binds", "c_threads_each_binds")


def share(name, *args, uid=None, **options):
    """Two unmodified servers on one port, with --listen and without; all answer."""
    if uid is not None:
        need_other_user()
    server = server_named(name)
    for listed in (True, False):
        port = free_port()
        listen = ["-l", f"{LOCAL}:{port}"] if listed else []
        with Master("-w", "2", *listen, *args, "--", *server.command(LOCAL, port), **options) as m:
            m.ports.add(port)
            m.wait_ready()
            server.wait_slots(m, f"{LOCAL}:{port}", 2)
            equal(m.count_log("adoption does not work"), 0, "complaints")
            if uid is not None:
                equal({proc.status_uid(pid) for pid in m.workers()}, {uid}, "users")


def test_ordinary_user():
    """As an ordinary user without any capability"""
    for name in KINDS:
        share(name, uid=NOBODY if as_nobody() else None, wrapper=as_nobody())


def test_other_user():
    """As root with workers under another user"""
    for name in KINDS:
        share(name, "--user", "nobody", uid=NOBODY)


def test_container():
    """As root with a container's capabilities, workers are root too"""
    for name in KINDS:
        share(name, wrapper=as_in_container())


def test_container_other_user():
    """As root with a container's capabilities and workers under another user"""
    for name in KINDS:
        share(name, "--user", "nobody", uid=NOBODY, wrapper=as_in_container())


def drops_by_itself(**options):
    port = free_port()
    with Master("-w", "2", "-l", f"{LOCAL}:{port}", "--", *binder(f"--setuid={NOBODY}",
                f"{LOCAL}:{port}"), **options) as m:
        m.ports.add(port)
        m.wait_ready()
        server_named("c").wait_slots(m, f"{LOCAL}:{port}", 2)
        equal({proc.status_uid(pid) for pid in m.workers()}, {NOBODY}, "users")


def test_drops_by_itself():
    """A server that gives up root by itself before it binds"""
    need_root()
    drops_by_itself()


def test_container_drops_by_itself():
    """The same in a container: it works, or the log says that it cannot"""
    port = free_port()
    with Master("-w", "1", "-l", f"{LOCAL}:{port}", "--backoff", "50ms", "--",
                *binder(f"--setuid={NOBODY}", f"{LOCAL}:{port}"), wrapper=as_in_container()) as m:
        m.ports.add(port)
        wait_until(lambda: m.is_ready() or m.count_log("adoption does not work"),
                   "readiness or the reason")


def test_no_privilege_is_lent():
    """The master does not bind a privileged port for a worker that may not"""
    need_other_user()
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        port = min(int(file.read()), 1024) - 1
    if port <= 0:
        skip("every port is for everyone here")
    address = f"{LOCAL}:{port}"
    for arguments, command in ((["--user", "nobody"], binder(address)),
                               ([], binder("--setuid=65534", address))):
        with Master("-w", "1", *arguments, "--backoff", "20ms", "--", *command) as m:
            m.wait_log("failed start number 2")
            matches(m.log(), r"bind: Permission denied", "what the server says")
            equal(proc.listeners(port), 0, "sockets on the port")


def test_unseen_bind_of_others():
    """Of workers under another user each is named that binds unseen, however fast it is"""
    need_other_user()
    need_foreign_calls()
    count = 16  # at once: READY=1 reaches the master together with how the start went
    with Master("-w", str(count), "-l", f"{LOCAL}:0", "--user", "nobody", "--ready", "notify",
                "--", *binder("--foreign", "--notify", f"{LOCAL}:0")) as m:
        m.wait_ready()
        equal(m.count_log("past adoption"), count, "workers that were named")


def test_privileged_port():
    """With --listen, workers under another user get a privileged port"""
    need_other_user()
    port = next((port for port in range(1023, 900, -1) if can_bind(port)), None)
    if port is None:
        skip("no privileged port is free")
    with Master("-w", "2", "-l", f"{LOCAL}:{port}", "--user", "nobody", "--",
                *binder(f"{LOCAL}:{port}")) as m:
        m.ports.add(port)
        m.wait_ready()
        server_named("c").wait_slots(m, f"{LOCAL}:{port}", 2)


def test_setuid_programs():
    """Programs that change the user go on working for the workers of a root master"""
    need_root()
    port = free_port()
    with Master("-w", "1", "-l", f"{LOCAL}:{port}", "--", *binder(f"{LOCAL}:{port}")) as m:
        m.ports.add(port)
        m.wait_ready()
        equal(proc.status(m.in_slot(0))["NoNewPrivs"], "0", "no_new_privs")

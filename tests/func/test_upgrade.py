"""Another program takes the master's place: same process, same workers, nothing lost."""
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import proc
from harness import (PREFORKD, QUICK, Hammer, Master, activated, ask, check, connect, diag, equal, folder,
                     free_port, helper, matches, need_program, need_root, parse_reply, parse_who,
                     pool, read_all, server, skip, timeout, wait_until, write)

TAKEN_OVER = r"took over"
FAILED = r"upgrade failed: (.*); this program runs on"


def upgrade(m, outcome=TAKEN_OVER, seconds=30):
    start = m.mark()
    m.send(signal.SIGUSR2)
    return m.wait_log(outcome, start, seconds)


def program(script):
    """The path of a program that preforkd is started from, and that can be replaced: at first one
    that leads to the preforkd under test."""
    path = os.path.join(folder(), "preforkd")
    install(path, script)
    return path


def install(path, script):
    new = path + ".new"
    with open(new, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/bash\n{script}\n")
    os.chmod(new, 0o755)
    os.rename(new, path)


def run_real(before=""):
    return f'{before}\nexec -a "$0" "{PREFORKD}" "$@"'


class Wrapped(Master):
    """A master whose argv[0] is a path of the test's own, where another program can be put."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.program = program(run_real())
        self.args = ["bash", "-c", f'exec -a "{self.program}" "$0" "$@"', *self.args]


def pids(m):
    return sorted(m.workers())


@timeout(180)
def test_under_load():
    """10 upgrades under load: same process, same workers, 0 failed, no descriptor more"""
    count = 3 if QUICK else 10
    with Master("-w", "4", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        before = pids(m)
        fds = []
        with Hammer(m.address(), clients=16, rate=2000, seconds=150) as load:
            for _ in range(count):
                upgrade(m)
                m.wait_ready()
                fds.append(len(proc.fds(m.pid)))
            wait_until(lambda: len(proc.fds(m.pid)) <= fds[0],
                       "as many descriptors as after the first upgrade, or fewer")
            load.expect_clean()
        equal(pids(m), before, "workers")
        equal(m.count_log(TAKEN_OVER), count, "programs that took over")
        m.reload()
        m.wait_table(4, gen=2)


def test_queue():
    """What waits in a queue during an upgrade is answered after it"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        worker = m.in_slot(0)
        os.kill(worker, signal.SIGSTOP)
        waiting = [connect(m.address(), timeout=20) for _ in range(50)]
        for sock in waiting:
            sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        upgrade(m)
        os.kill(worker, signal.SIGCONT)
        answers = [parse_who(parse_reply(read_all(sock)).body).pid for sock in waiting]
        equal(set(answers), {worker}, "who answered")
        for sock in waiting:
            sock.close()


def refused(script, reason, seconds=30):
    with Wrapped("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        before = pids(m)
        if script is None:
            os.unlink(m.program)
        else:
            install(m.program, script)
        matches(upgrade(m, FAILED, seconds).group(1), reason, "reason")
        wait_until(lambda: pids(m) == before, "the same workers")
        m.wait_slots(2)
        install(m.program, run_real())
        upgrade(m)
        equal(pids(m), before, "workers after the next upgrade")


def test_refuses():
    """A new program that says no: the old one goes on, and tells why"""
    refused("echo 'preforkd: I understand nothing' >&2; exit 2", "preforkd: I understand nothing")


def test_missing():
    """The new program is missing: the old one goes on"""
    refused(None, "No such file or directory")


def test_not_executable_format():
    """The new program is no program: the old one goes on"""
    with Wrapped("-w", "1", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        write_raw(m.program, b"\x7fELF this is none")
        matches(upgrade(m, FAILED).group(1), "Exec format error", "reason")
        m.wait_slots(1)


def write_raw(path, data):
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)


def test_dies():
    """The new program dies when it is asked: the old one goes on"""
    refused("kill -SEGV $$", "was killed by signal 11")


@timeout(90)
def test_hangs():
    """The new program never answers: it is given up, the old one goes on"""
    refused("exec sleep 600", "does not answer", 40)


def test_exec_fails():
    """The new program vanishes between the question and the exec: the old one goes on"""
    with Wrapped("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        before = pids(m)
        install(m.program, f'rm -f "{m.program}"; exit 0')
        matches(upgrade(m, FAILED).group(1), "cannot execute", "reason")
        equal(pids(m), before, "workers")
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(pids(m)) == 2 and before[0] not in pids(m), "a successor")
        m.wait_slots(2)


@timeout(120)
def test_death_during_exec():
    """A worker that dies while no program looks is replaced"""
    with Wrapped("-w", "3", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        for _ in range(2 if QUICK else 5):
            victim = pids(m)[0]
            install(m.program, run_real(
                f'[ "$1" = --check-handover ] || {{ kill -KILL {victim}; sleep 0.1; }}'))
            upgrade(m)
            wait_until(lambda v=victim: len(pids(m)) == 3 and v not in pids(m), "a successor")
            m.wait_slots(3)


def test_versions():
    """A newer program understands the state of an older one, the older refuses that of a newer"""
    later = helper("lib/preforkd-later")
    with Wrapped("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        before = pids(m)
        install(m.program, f'exec -a "$0" "{later}" "$@"')
        upgrade(m)
        m.wait_slots(2)
        install(m.program, run_real())
        matches(upgrade(m, FAILED).group(1), "state of version", "reason")
        equal(pids(m), before, "workers")
        m.wait_slots(2)


def test_refused_in_a_reload():
    """No upgrade while a reload runs, and the other way round a reload can follow an upgrade"""
    config = pool(command=server("--start-delay=300"), workers=2, listen="127.0.0.1:0",
                  min_uptime="100ms")
    with Master(config=config) as m:
        m.wait_ready()
        start = m.mark()
        m.send(signal.SIGHUP)
        m.wait_log("reload begins", start)
        m.send(signal.SIGUSR2)
        m.wait_log("no upgrade: a reload is running", start)
        m.wait_log("reload complete", start)
        upgrade(m)
        m.reload()


def test_keeps_what_is_in_force():
    """Settings, number of workers and generation stay; a changed file is not read before a reload"""
    with Master(config=pool(workers=2, listen="127.0.0.1:0", min_uptime="20ms")) as m:
        m.wait_ready()
        m.reload()
        m.send(signal.SIGTTIN)
        m.wait_table(3)
        m.write_config(pool(workers=1, listen="127.0.0.1:0", min_uptime="20ms"))
        upgrade(m)
        before = pids(m)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(pids(m)) == 3 and before[0] not in pids(m), "a successor")
        m.wait_table(3, gen=2)
        m.wait_slots(3)
        m.reload()
        m.wait_table(1, gen=3)


def test_unlisted():
    """A server that binds by itself: its address, its successor and its queue outlive an upgrade"""
    port = free_port()
    with Master("-w", "2", "--", sys.executable, "-m", "http.server", "--bind", "127.0.0.1",
                "--directory", folder(), str(port)) as m:
        m.ports.add(port)
        m.wait_ready()
        wait_until(lambda: proc.listeners(port) == 2, "two sockets")
        upgrade(m)
        for slot in range(2):
            old = m.in_slot(slot)
            os.kill(old, signal.SIGKILL)
            wait_until(lambda o=old: o not in pids(m) and len(pids(m)) == 2, "a successor")
        wait_until(m.is_ready, "readiness")
        for _ in range(20):
            with connect(f"127.0.0.1:{port}") as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                check(b"200 OK" in read_all(sock), "an answer")
        equal(proc.listeners(port), 2, "sockets on the port")


def test_starting():
    """A worker that was starting becomes ready, one that fails is tried again, one that drains ends"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server("--start-delay=1500")) as m:
        wait_until(m.workers, "a worker")
        upgrade(m)
        m.wait_ready()
        m.wait_slots(1)


def test_backoff():
    """A slot that waits for its next start goes on waiting, and counts on"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--backoff", "1s", "--",
                *server("--crash-start=3")) as m:
        m.wait_log("failed start number 1")
        upgrade(m)
        m.wait_log("failed start number 2", timeout=20)
        m.stop()


def test_draining():
    """A worker that is told to stop is still killed when its time is over"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--stop-timeout", "1s", "--",
                *server("--ignore-term", "--only-slot=1")) as m:
        m.wait_ready()
        stubborn = m.in_slot(1)
        m.send(signal.SIGTTOU)
        m.wait_log(r"main: workers: now 1|workers: now 1")
        upgrade(m)
        wait_until(lambda: not proc.alive(stubborn), "the end of the stubborn worker")
        m.wait_table(1)


def test_unix_socket():
    """A Unix socket's file stays, and goes with the last program"""
    path = os.path.join(folder(), "socket")
    with Master("-w", "2", "-l", f"unix:{path}", "--", *server()) as m:
        m.wait_ready()
        inode = os.stat(path).st_ino
        upgrade(m)
        equal(os.stat(path).st_ino, inode, "the file")
        equal(parse_who(ask(f"unix:{path}")).gen, 1, "generation")
    check(not os.path.exists(path), "the socket's file is left")


def test_inherited():
    """Sockets of the service manager stay as well"""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        port = sock.getsockname()[1]
        wrapper, fds = activated(sock)
        with Master("-w", "2", "--", *server(), wrapper=wrapper, pass_fds=fds) as m:
            m.wait_ready()
            upgrade(m)
            upgrade(m)
            os.kill(m.in_slot(0), signal.SIGKILL)
            m.wait_table(2)
            check(parse_who(ask(f"127.0.0.1:{port}")).pid in pids(m), "an answer")


def test_limit_of_files():
    """Workers that are started after an upgrade have the limit of open files that the first had"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server(),
                wrapper=["prlimit", "--nofile=500:1000"]) as m:
        m.wait_ready()
        upgrade(m)
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_table(1)
        equal(proc.limit(m.in_slot(0), resource.RLIMIT_NOFILE), (500, 1000), "the limit")


def subfolder(name):
    path = os.path.join(folder(), name)
    os.mkdir(path)
    return path


def test_lost_health():
    """Health pages that cannot be opened again: an error, and the rest goes on"""
    place = subfolder("health")
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server(),
                health=f"unix:{place}/socket") as m:
        m.wait_slots(2)
        before = pids(m)
        shutil.rmtree(place)
        start = m.mark()
        upgrade(m)
        m.wait_log(r"error.* health '.*: going on without it", start)
        m.wait_slots(2)
        upgrade(m)
        m.wait_slots(2)
        equal(pids(m), before, "workers")


def test_lost_files():
    """No folder any more for the control socket and the pid file: errors, and the rest goes on"""
    control, pidfile = subfolder("control"), subfolder("pid")
    with Master("-w", "2", "-l", "127.0.0.1:0", "--pidfile", f"{pidfile}/main", "--", *server(),
                control=f"{control}/socket") as m:
        m.wait_ready()
        m.wait_slots(2)
        before = pids(m)
        shutil.rmtree(control)
        shutil.rmtree(pidfile)
        start = m.mark()
        upgrade(m)
        m.wait_log(r"error.* control '.*: going on without it", start)
        m.wait_log(r"error.* pidfile '.*: going on without it", start)
        m.wait_slots(2)
        os.mkdir(pidfile)
        os.mkdir(control)
        start = m.mark()
        upgrade(m)
        m.wait_log(r"control on ", start)
        with open(f"{pidfile}/main", encoding="utf-8") as file:
            equal(int(file.read()), m.pid, "the pid file")
        equal(pids(m), before, "workers")
    check(not os.path.exists(f"{pidfile}/main"), "the pid file is left")


def test_lost_log():
    """A log file that cannot be opened again: the log goes to stderr"""
    place = subfolder("log")
    with Master("-w", "1", "--log-file", f"{place}/log", "--", *server()) as m:
        wait_until(lambda: os.path.exists(f"{place}/log"), "the log")
        wait_until(m.workers, "a worker")
        before = pids(m)
        shutil.rmtree(place)
        upgrade(m)
        m.wait_log(r"error.* log-file '.*: the log goes to stderr")
        equal(pids(m), before, "workers")


def in_own_passwd(passwd):
    """A wrapper that runs a command with a file of the test's own as /etc/passwd."""
    need_root()
    return [need_program("unshare"), "--mount", "--propagation", "private", "sh", "-c",
            f'mount --bind "{passwd}" /etc/passwd && exec "$0" "$@"']


def test_lost_user():
    """The user was removed: workers are still started as the one they had, a reload tells it"""
    with open("/etc/passwd", encoding="utf-8") as file:
        others = file.read()
    passwd = write("passwd", f"{others}lost-user:x:54321:54322::/nowhere:/bin/false\n")
    config = pool(workers=2, listen="127.0.0.1:0", user="lost-user", min_uptime="10ms")
    with Master(config=config, wrapper=in_own_passwd(passwd)) as m:
        m.wait_ready()
        with open(passwd, "w", encoding="utf-8") as file: # the same file, as it is mounted
            file.write(others)
        before = pids(m)
        upgrade(m)
        upgrade(m)
        equal(pids(m), before, "workers")
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: before[0] not in pids(m), "the end of a worker")
        m.wait_table(2)
        equal({proc.status_uid(pid) for pid in pids(m)}, {54321}, "users")
        equal({proc.environ(pid)["HOME"] for pid in pids(m)}, {"/nowhere"}, "homes")
        m.reload(r"reload failed: .*there is no user 'lost-user'")
        m.wait_slots(2)


def unix_who(path):
    return parse_who(ask(f"unix:{path}"))


def test_lost_unix_socket():
    """The folder of a Unix socket was removed: clients that are there are served, a reload mends it"""
    place = subfolder("sockets")
    path = f"{place}/socket"
    config = pool(workers=2, listen=f"unix:{path}", min_uptime="10ms")
    with Master(config=config) as m:
        m.wait_ready()
        before = pids(m)
        with connect(f"unix:{path}") as sock:
            shutil.rmtree(place)
            upgrade(m)
            sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            check(parse_who(parse_reply(read_all(sock)).body).pid in before, "an answer")
        equal(pids(m), before, "workers")
        m.reload(r"reload failed: .*No such file or directory")
        os.mkdir(place)
        m.reload()
        equal(unix_who(path).gen, 3, "generation")
    check(not os.path.exists(path), "the socket's file is left")


INTERFACE = """ip link set lo up && ip link add gone0 type veth peer name gone1 &&
ip link set gone1 up && echo 0 >/proc/sys/net/ipv6/conf/gone0/accept_dad &&
ip link set gone0 up && ip address add fe80::1234/64 dev gone0 nodad"""


def in_own_network():
    """A wrapper that runs a command in a network of its own with an interface that can be removed."""
    need_root()
    for name in "unshare", "ip", "nsenter":
        need_program(name)
    if subprocess.run(["unshare", "--net", "sh", "-c", INTERFACE], stderr=subprocess.DEVNULL,
                      check=False).returncode != 0:
        skip("no interface can be made")
    return ["unshare", "--net", "sh", "-c", f'{INTERFACE} && exec "$0" "$@"']


def test_lost_interface():
    """The interface of an address was removed: workers go on, and others can be started"""
    with Master("-w", "2", "-l", "[fe80::1234%gone0]:80", "--min-uptime", "10ms", "--", *server(),
                wrapper=in_own_network(), health="off") as m:
        m.wait_log("all workers are ready")
        before = pids(m)
        subprocess.run(["nsenter", "-t", str(m.pid), "-n", "ip", "link", "del", "gone0"], check=True)
        upgrade(m)
        equal(pids(m), before, "workers")
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(pids(m)) == 2 and before[0] not in pids(m), "a successor")


EDIT = """
import json, os, sys
path = "/proc/self/fd/" + os.environ["PREFORKD_HANDOVER"]
with open(path) as file:
    state = json.load(file)
cluster = state["cluster"]
pool = cluster["pools"][0]
slot = pool["slots"][1]
exec(sys.argv[1])
with open(path, "w") as file:
    json.dump(state, file)
"""


def changed_state(change):
    """The new program finds the state changed between the two, and descriptors that were printed
    closed."""
    edit = os.path.join(folder(), "edit.py")
    with open(edit, "w", encoding="utf-8") as file:
        file.write(EDIT)
    return run_real(f'''if [ "$1" != --check-handover ]; then
        for fd in $({sys.executable} {edit} '{change}'); do eval "exec $fd>&-"; done
    fi''')


def resumed_anew(change, reason):
    with Wrapped("-w", "3", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--", *server()) as m:
        m.wait_ready()
        m.wait_table(3)
        before = [m.in_slot(slot) for slot in range(3)]
        install(m.program, changed_state(change))
        start = m.mark()
        upgrade(m)
        m.wait_log(rf"error.*main\.1.* cannot be resumed: {reason}: starting a worker anew", start)
        wait_until(lambda: not proc.alive(before[1]), "the end of the worker of slot 1")
        m.wait_slots(3)
        wait_until(lambda: len(pids(m)) == 3, "three workers")
        equal([m.in_slot(slot) for slot in (0, 2)], [before[0], before[2]], "the other workers")
        check(m.in_slot(1) != before[1], "the worker of slot 1 is the old one")
        install(m.program, run_real())
        upgrade(m)


@timeout(120)
def test_slot_without_sense():
    """A slot or worker that cannot be resumed gets another worker; the other slots go on"""
    resumed_anew('slot["state"] = "dreaming"', "'dreaming' is no state .*")
    resumed_anew('slot["breaker"]["state"] = "ajar"', "breaker: 'ajar' is no state .*")
    resumed_anew('slot["last_exit"]["kind"] = 1', "exit: .* is no kind .*")
    resumed_anew('slot["current"]["state"] = "dreaming"', "'dreaming' is no state .*")
    resumed_anew('slot["current"]["notify_fd"] = 999', "descriptors: Bad file descriptor")


def lost(what, reason, *args, wrapper=(), **more):
    """A master that does not find the sockets `what` any more; its workers go on serving."""
    m = Wrapped("-w", "2", *args, "--", *server(), **more)
    m.args = [*wrapper, *m.args]
    with m:
        m.wait_ready()
        before = pids(m)
        install(m.program, changed_state(f'for entry in {what}: print(entry.pop("fd"))'))
        start = m.mark()
        upgrade(m)
        m.wait_log(rf"error.* {reason}", start)
        install(m.program, run_real())
        upgrade(m)
        equal(pids(m), before, "workers")
        yield m
        m.wait_slots(2)


@timeout(120)
def test_lost_sockets():
    """Sockets that are not found: who has them goes on, new ones are made once the address is free"""
    reason = r"2 of 2 slots lost their socket in the upgrade"
    for accept in "per-worker", "shared":
        for m in lost('pool["sockets"]', reason, "-l", f"127.0.0.1:{free_port()}", "--accept", accept,
                      "--backoff", "10ms", "--min-uptime", "10ms"):
            m.wait_slots(2)
            before = pids(m)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda m=m, old=before: len(set(pids(m)) - set(old)) == 2, "two new workers")
            wait_until(m.is_ready, "readiness")


def test_lost_inherited():
    """A socket of the service manager that is not found: who has it goes on"""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        wrapper, fds = activated(sock)
        for m in lost('cluster["inherited"]', "inherited socket .* was lost in the upgrade",
                      wrapper=wrapper, pass_fds=fds):
            m.reload(r"reload failed: .*sockets of the service manager are inherited")


def test_two_requests():
    """USR2 twice at once is one upgrade, or one after the other"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        before = pids(m)
        for _ in range(20):
            m.send(signal.SIGUSR2)
            time.sleep(0.005)
        m.wait_log(TAKEN_OVER)
        wait_until(m.is_ready, "readiness")
        m.wait_slots(2)
        wait_until(lambda: pids(m) == before, "the workers alone")
        diag(f"{m.count_log(TAKEN_OVER)} took over")


def test_check_by_hand():
    """--check-handover without a running program is a usage error"""
    status, said = Master("--check-handover", "--", "true", health=None).run()
    equal(status, 2, "exit status")
    matches(said, "for a running preforkd", "message")


def test_output():
    """Lines that workers write during upgrades come out whole, each once"""
    script = "i=0; while :; do i=$((i+1)); printf 'beg%s' $i; echo in $i; sleep 0.002; done"
    with Master("-w", "2", "--output", "tag", "--ready", "delay", "--ready-delay", "10ms", "--",
                "sh", "-c", script) as m:
        m.wait_ready()
        for _ in range(3):
            upgrade(m)
        for slot in range(2):
            wait_until(lambda s=slot: m.count_log(rf"(?m)^\[main\.{s} \d+\] beg\d+in ") > 100, "lines")
        for slot in range(2):
            numbers = [tuple(map(int, pair)) for pair in re.findall(
                rf"(?m)^\[main\.{slot} \d+\] beg(\d+)in (\d+)$", m.log())]
            check(all(a == b for a, b in numbers), "torn lines")
            found = [a for a, _ in numbers]
            equal(found, list(range(1, len(found) + 1)), f"lines of slot {slot}")
            check(len(found) > 100, f"only {len(found)} lines")


@timeout(90)
def test_watches_on():
    """What is watched for is watched for after an upgrade too: hung workers, old ones, nobody ready"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--hang-timeout", "3s", "--", *server()) as m:
        m.wait_ready()
        upgrade(m)
        m.wait_ready()
        hung = m.in_slot(0)
        os.kill(hung, signal.SIGSTOP)
        with Hammer(m.address(), clients=8, rate=200, seconds=80) as load:
            wait_until(lambda: not proc.alive(hung), "the end of the hung worker", 40)
            load.result()
        m.wait_slots(2)
    with Master("-w", "1", "-l", "127.0.0.1:0", "--max-lifetime", "3s", "--min-uptime", "10ms", "--",
                *server()) as m:
        m.wait_ready()
        upgrade(m)
        old = m.in_slot(0)
        wait_until(lambda: not proc.alive(old), "the end of the old worker")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--fallback", "503", "--backoff", "30s", "--",
                *server("--crash-start=1")) as m:
        m.wait_log("failed start number 1")
        upgrade(m)
        wait_until(lambda: ask_status(m) == 503, "an answer of the master")


def ask_status(m):
    with connect(m.address()) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return parse_reply(read_all(sock)).status

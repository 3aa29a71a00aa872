"""As process 1 of a container: name spaces of its own for processes and mounts, strangers to reap,
signals, exit statuses, and the control group's quota."""
import os
import signal
import subprocess

import proc
from harness import (RELOAD_DONE, Master, ask, diag, equal, free_port, need_program,
                     need_root, pool, quoted, server, skip, sleeper, timeout, wait_until)

ORPHANS = 1000


class Pid1(Master):
    """A master that is process 1 of its own name space; `more` goes between it and unshare(1)."""

    def __init__(self, *args, more=(), options=(), **rest):
        need_root()
        unshare = [need_program("unshare"), "--pid", "--mount-proc", "--fork", "--kill-child"]
        if subprocess.run([*unshare, "true"]).returncode != 0:
            skip("unshare(1) cannot make such name spaces here (nor can any in a chroot)")
        super().__init__(*args, wrapper=[*unshare, *options, *more], **rest)

    @property
    def pid(self):
        return wait_until(lambda: proc.children(self.process.pid), "process 1")[0]

    def send(self, number):
        os.kill(self.pid, number)

    def expect_pid1(self):
        equal(proc.status(self.pid)["NSpid"].split()[-1], "1", "process id inside")
        return self


def orphan_maker():
    """A worker that leaves orphans, half of them in sessions of their own, and then serves."""
    return ["sh", "-c", f"i=0; while [ $i -lt {ORPHANS // 2} ]; do (true &); (setsid true &); "
            f"i=$((i+1)); done; exec {quoted(server())}"]


@timeout(180)
def test_orphans():
    """1,000 orphans of a worker are reaped, none of them is a zombie in the end"""
    with Pid1("--workers", "1", "--log-level", "debug", "--listen", "127.0.0.1:0",
              "--start-timeout", "120s", "--", *orphan_maker()) as m:
        m.expect_pid1().wait_ready(120)
        wait_until(lambda: m.count_log("reaped a stranger") >= ORPHANS, f"{ORPHANS} reaped", 60)

        def zombies():
            return [pid for pid in proc.descendants(m.pid) if (proc.stat(pid) or " S")[1] == "Z"]
        wait_until(lambda: not zombies(), "no zombies")
        ask(m.address())
        diag(f"{m.count_log('reaped a stranger')} strangers reaped")


def test_signals():
    """HUP reloads; TERM, INT and QUIT stop with the status for it and leave nothing"""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        with Pid1(config="[preforkd]\nshutdown-exit-status = 7\n" +
                  pool(workers=2, listen="127.0.0.1:0", min_uptime="50ms")) as m:
            m.expect_pid1().wait_ready()
            m.reload(RELOAD_DONE)
            equal(m.who().gen, 2, "generation")
            equal(m.stop(number), 7, f"exit status after {signal.Signals(number).name}")


def test_second_term():
    """A second TERM does not wait for a worker that ignores it"""
    with Pid1("-w", "1", "--stop-timeout", "1h", "--", *server("--ignore-term")) as m:
        m.wait_ready()
        m.send(signal.SIGTERM)
        m.wait_log("TERM: stopping")
        equal(m.stop(signal.SIGTERM), 0, "exit status")


def test_exit_statuses():
    """What goes wrong at the start is told by the exit status"""
    taken = free_port()
    with Pid1("-w", "1", "-l", f"127.0.0.1:{taken}", "--", *server()) as m:
        m.wait_ready()
        for status, args in ((127, ("--", "/nonexistent/command")),
                             (126, ("--", "/etc/passwd")),
                             (2, ("--workers", "0", "--", "true")),
                             (1, ("-l", f"127.0.0.1:{taken}", "--", *server()))):
            equal(Pid1(*args).run()[0], status, f"exit status of {args}")


# ---- the control group's quota

def cpu_groups():
    """(kind, folder) of this process's control group that limits CPU time."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        ours = {line.split(":")[1]: line.strip().split(":", 2)[2] for line in file}
    for kind, key, place in (("v1", "cpu", "/sys/fs/cgroup/cpu"),
                             ("v1", "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
                             ("v2", "", "/sys/fs/cgroup"), ("v2", "", "/sys/fs/cgroup/unified")):
        folder = place + ours.get(key, "")
        limit = "cpu.cfs_quota_us" if kind == "v1" else "cpu.max"
        if key in ours and os.path.exists(f"{folder}/cgroup.procs"):
            yield kind, place, folder, limit


def limited_group(quota):
    """A new control group with `quota` ms of every 100 ms of CPU time: (kind, place, folder)."""
    for kind, place, parent, limit in cpu_groups():
        folder = f"{parent}/preforkd-test-{os.getpid()}"
        try:
            os.mkdir(folder)
        except OSError:
            continue
        try:
            with open(f"{folder}/{limit}", "w", encoding="ascii") as file:
                file.write(f"{quota}000" if kind == "v1" else f"{quota}000 100000")
            return kind, place, folder
        except OSError:
            os.rmdir(folder)
    return skip("no control group for CPU time can be made here")


def expect_workers(quota, wanted, inside):
    kind, place, folder = limited_group(quota)

    def enter():
        with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
    # As container runtimes do it: the group is the root of what the container sees.
    more = ("sh", "-c", f'mount --bind {folder} {place} && exec "$@"', "sh") if inside else ()
    try:
        with Pid1("--workers", "auto", "--", *sleeper(), preexec_fn=enter, more=more,
                  options=("--cgroup",) if inside else ()) as m:
            m.wait_ready()
            equal(len(m.workers()), wanted, f"workers with {quota} % of a CPU, cgroup {kind}")
    finally:
        wait_until(lambda: not open(f"{folder}/cgroup.procs", encoding="ascii").read(), "its end")
        os.rmdir(folder)


def test_quota():
    """`workers = auto` heeds the control group's quota, with and without a name space for it"""
    cpus = len(os.sched_getaffinity(0))
    for inside in (False, True):
        expect_workers(50, 1, inside)
        expect_workers(150, min(2, cpus), inside)

"""What a worker gets, and what it may tell."""
import os
import pwd
import resource
import signal

import proc
from harness import (NOBODY, Master, ask, check, diag, equal, folder, matches, need_other_user,
                     pool, quiet_server, server, sleeper, stays, wait_until, write)


def worker_env(m):
    return dict(line.split("=", 1) for line in ask(m.address(), "/env").splitlines())


def test_environment():
    """Every protocol's variables are there, and nothing of the master's own leaks"""
    stale = {"LISTEN_FDS": "9", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x", "LISTEN_PIDFDID": "1",
             "NOTIFY_SOCKET": "/nonexistent/manager", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1",
             "EINHORN_FD_COUNT": "7", "EINHORN_FD_6": "9", "SERVER_STARTER_PORT": "1=9",
             "MAINPID": "1", "FDSTORE": "1", "PREFORK_SLOT": "99", "KEPT": "yes"}
    with Master("-w", "2", "-l", "127.0.0.1:0", "-l", "127.0.0.1:0", "--env", "MINE=a b=c",
                "--", *server(), env=stale) as m:
        m.wait_ready()
        who = m.who()
        env = proc.environ(who.pid)
        ports = [m.port(0), m.port(1)]
        wanted = {
            "LISTEN_FDS": "2", "LISTEN_PID": str(who.pid), "EINHORN_FD_COUNT": "2",
            "EINHORN_FD_0": "3", "EINHORN_FD_1": "4", "SERVER_STARTER_GENERATION": "1",
            "SERVER_STARTER_PORT": f"127.0.0.1:{ports[0]}=3;127.0.0.1:{ports[1]}=4",
            "PORT": str(ports[0]), "PREFORK_POOL": "main", "PREFORK_SLOT": str(who.slot),
            "PREFORK_WORKERS": "2", "PREFORK_GENERATION": "1", "NODE_APP_INSTANCE": str(who.slot),
            "MINE": "a b=c", "KEPT": "yes"}
        equal({key: env.get(key) for key in wanted}, wanted, "environment")
        equal(env["LISTEN_FDNAMES"].count(":"), 1, "names")
        for key in ("LISTEN_PIDFDID", "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID", "FDSTORE",
                    "EINHORN_FD_6"):
            check(key not in env, f"{key} leaked")
        check(env["NOTIFY_SOCKET"] != stale["NOTIFY_SOCKET"], "NOTIFY_SOCKET leaked")


def test_port_is_kept():
    """PORT is not overwritten when the user sets it"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--env", "PORT=1234", "--", *server()) as m:
        m.wait_ready()
        equal(proc.environ(m.who().pid)["PORT"], "1234", "PORT")


def test_descriptors():
    """A worker starts with the descriptors 0, 1, 2, 3 and no other"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        equal(sorted(ask(m.address(), "/fd").split(), key=int), ["0", "1", "2", "3"], "descriptors")
        os.kill(m.in_slot(0), signal.SIGKILL)
        os.kill(m.in_slot(1), signal.SIGKILL)
        m.wait_table(2)
        equal(sorted(ask(m.address(), "/fd").split(), key=int), ["0", "1", "2", "3"],
              "descriptors of a replacement")


def test_process_state():
    """Own session and process group, default signals, nothing blocked, stdin is /dev/null"""
    with Master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        pid = m.in_slot(0)
        equal(proc.stat(pid)[3:], (pid, pid), "process group and session")
        status = proc.status(pid)
        equal(int(status["SigBlk"], 16), 0, "blocked signals")
        equal(int(status["SigIgn"], 16), 0, "ignored signals")
        equal(proc.fds(pid)[0], "/dev/null", "stdin")


def test_user_and_group():
    """user and group: uid, gid, supplementary groups and HOME are those of the user"""
    need_other_user()
    with Master("-w", "1", "-l", "127.0.0.1:0", "--user", "nobody", "--", *server()) as m:
        m.wait_ready()
        status = proc.status(m.who().pid)
        equal(status["Uid"].split(), [str(NOBODY)] * 4, "uid")
        equal(status["Gid"].split(), [str(pwd.getpwnam("nobody").pw_gid)] * 4, "gid")
        check("0" not in status["Groups"].split(), f"root's groups are kept: {status['Groups']}")
        equal(int(status["CapEff"], 16), 0, "capabilities")
        env = worker_env(m)
        equal((env["USER"], env["HOME"]), ("nobody", pwd.getpwnam("nobody").pw_dir), "environment")
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_table(1)
        m.who()
    with Master("-w", "1", "--user", "no-such-user", "--", *sleeper()) as m:
        check(m.wait() in (1, 2), "exit status")
        matches(m.log(), r"user.*no-such-user", "reason")


def test_limits():
    """nice, umask, limit-nofile, limit-core and oom-score-adj are set"""
    with Master("-w", "1", "--nice", "5", "--umask", "027", "--limit-nofile", "123",
                "--limit-core", "0", "--oom-score-adj", "500", "--", *sleeper()) as m:
        m.wait_ready()
        pid = m.in_slot(0)
        equal(os.getpriority(os.PRIO_PROCESS, pid), 5, "nice")
        equal(proc.status(pid)["Umask"], "0027", "umask")
        equal(proc.limit(pid, resource.RLIMIT_NOFILE), (123, 123), "open files")
        equal(proc.limit(pid, resource.RLIMIT_CORE), (0, 0), "core")
        with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
            equal(int(file.read()), 500, "oom_score_adj")


def test_env_file():
    """env-file is read again at each start, and env wins over it"""
    path = write("vars", "# comment\nONE=1\nTWO=from file\n\nTHREE='quoted'\n")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--env-file", path,
                "--env", "TWO=from env", "--", *server()) as m:
        m.wait_ready()
        env = worker_env(m)
        equal((env["ONE"], env["TWO"]), ("1", "from env"), "environment")
        write("vars", "ONE=2\n")
        os.kill(m.in_slot(0), signal.SIGKILL)
        m.wait_table(1)
        equal(worker_env(m)["ONE"], "2", "environment of the replacement")


def test_directory_symlink():
    """directory through a symbolic link is resolved again at a reload"""
    for name in ("v1", "v2"):
        os.mkdir(os.path.join(folder(), name))
    link = os.path.join(folder(), "current")
    os.symlink("v1", link)
    with Master("-w", "2", "--min-uptime", "10ms", "--directory", link, "--", *sleeper()) as m:
        m.wait_ready()
        for pid in m.workers():
            equal(os.readlink(f"/proc/{pid}/cwd"), f"{folder()}/v1", "directory")
        os.symlink("v2", link + ".new")
        os.rename(link + ".new", link)
        m.reload()
        for pid in m.workers():
            equal(os.readlink(f"/proc/{pid}/cwd"), f"{folder()}/v2", "directory after the reload")


def test_ready_notify():
    """With ready = notify a worker is not ready before READY=1, then it is at once"""
    with Master("-w", "1", "--ready", "notify", "-l", "127.0.0.1:0", "--", *quiet_server()) as m:
        stays(lambda: not m.is_ready(), 1.5, "ready without READY=1")
    with Master("-w", "1", "--ready", "notify", "--ready-delay", "1h", "--", *sleeper()) as m:
        m.wait_ready(timeout=5)


def test_ready_observed():
    """A worker that says nothing is ready when it is seen to wait on its socket"""
    with Master("-w", "2", "--ready-delay", "10m", "-l", "127.0.0.1:0", "--",
                *quiet_server("--start-delay=300")) as m:
        check(not m.is_ready(), "ready before it accepts")
        m.wait_ready()
        took = matches(m.log(), r"ready after (\d+) ms", "log").group(1)
        check(int(took) >= 290, "ready before it accepts")
        diag(f"seen ready after {took} ms, of which it slept 300")


def test_ready_delay():
    """With ready = delay a worker is ready when it has lived that long"""
    with Master("-w", "1", "--ready", "delay", "--ready-delay", "700ms", "--",
                "sleep", "1000") as m:
        m.wait_ready()
        took = int(matches(m.log(), r"ready after (\d+) ms", "log").group(1))
        check(took >= 690, f"ready after {took} ms already")


def test_mainpid():
    """MAINPID: the stop signal goes to the process that a wrapper names"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--stop-timeout", "30s", "--",
                *server("--mainpid", "--exit-code=0")) as m:
        m.wait_ready()
        m.wait_log(r"main process is now \d+")
        wrapper, served_by = m.in_slot(0), m.who().pid
        check(wrapper != served_by, "the wrapper's child serves")
        equal(m.stop(timeout=10), 0, "exit status")
        check("did not stop in time" not in m.log(), "the wrapper had to be killed")


def test_mainpid_of_stranger():
    """MAINPID of a process that is no descendant is ignored"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server("--garbage")) as m:
        m.wait_ready()
        check("main process is now" not in m.log(), "MAINPID=1 was believed")


def test_garbage():
    """A worker that fills its notify socket with nonsense harms nobody, and its READY=1 counts"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server("--garbage", "--only-slot=0",
                                                               "--status")) as m:
        m.wait_ready()
        m.wait_slots(2)
        check("\033" not in m.log() and "\007" not in m.log(), "control characters in the log")
        equal(m.health("/healthz/liveness").status, 200, "liveness")


def test_watchdog():
    """A missed watchdog is ABRT; the worker is replaced, one that pings is left alone"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--watchdog", "2s", "--min-uptime", "100ms",
                "--limit-core", "0", config=pool(command=[
                    "/bin/sh", "-c",
                    f'test $PREFORK_SLOT = 0 && exec {server()[0]} --notify --pings=3;'
                    f'exec {server()[0]} --notify --pings=-1'])) as m:
        m.wait_ready()
        good, bad = m.in_slot(1), m.in_slot(0)
        env = proc.environ(bad)
        equal((env["WATCHDOG_USEC"], env["WATCHDOG_PID"]), ("2000000", str(bad)), "environment")
        m.wait_log(rf"main\.0\[{bad}\]: .*watchdog")
        m.wait_log(rf"main\.0\[{bad}\]: .*ABRT")
        wait_until(lambda: m.in_slot(0) != bad, "a replacement")
        equal(m.in_slot(1), good, "the worker that pings")


def test_forward_signals():
    """forward-signals passes USR1 on to the workers, other signals not"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--forward-signals", "USR1", "--", *server()) as m:
        m.wait_ready()
        m.send(signal.SIGUSR1)
        wait_until(lambda: m.count_log(rf"server: got signal {signal.SIGUSR1:d}") == 2,
                   "USR1 in both workers")
        m.send(signal.SIGWINCH)
        m.who()
        equal(m.count_log(r"server: got signal"), 2, "signals that arrived")


def test_grandchild_does_not_outlive():
    """What a dead worker leaves in its process group is killed before its successor serves"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "50ms", "--",
                *server("--grandchild")) as m:
        m.wait_ready()
        worker = m.in_slot(0)
        left = proc.children(worker)
        equal(len(left), 1, "grandchildren")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: m.in_slot(0) != worker, "a replacement")
        wait_until(lambda: not proc.alive(left[0]), "the grandchild's end", timeout=5)
        m.send(signal.SIGQUIT)
        m.wait()


def test_two_pools():
    """Two pools in one file run side by side; one that fails does not touch the other"""
    config = (pool("web", server(), workers=2, listen="127.0.0.1:0", min_uptime="50ms") +
              pool("jobs", server("--crash-start=9"), workers=1, backoff="50ms"))
    with Master(config=config) as m:
        wait_until(lambda: len(m.table("web")) == 2, "the pool web")
        m.wait_log(r"jobs\.0.*status 9")
        m.wait_slots(2)
        reply = m.health("/healthz/readiness?verbose")
        equal(reply.status, 503, "readiness")
        matches(reply.body, r"jobs", "readiness")
        m.write_config(config.replace(" --crash-start=9", ""))
        m.reload()
        wait_until(m.is_ready, "readiness")
        equal(len(m.table("jobs")), 1, "workers of the other pool")

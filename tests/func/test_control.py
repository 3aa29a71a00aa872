"""The control socket: what it tells, what it does, and who may ask."""
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import proc
from harness import (NOBODY, PREFORKD, QUICK, ROOT, SANITIZERS, Hammer, Master, as_nobody, check,
                     connect, diag, equal, folder, matches, need_root, pool, server, sleeper, talker,
                     timeout, wait_until, write)


def socket_path():
    return os.path.join(folder(), "control")


def master(*args, **options):
    return Master(*args, control=socket_path(), **options)


def steps(events):
    return [(e["pool"], e["slot"], e["step"]) for e in events if e.get("event") == "slot"]


def test_socket():
    """The socket is for its owner only, from birth to the end; a stale one is replaced"""
    path = socket_path()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with master("-w", "1", "--", *sleeper(), umask=0) as m:
        m.wait_ready()
        m.wait_log(r"control on " + path)
        info = os.stat(path)
        equal(stat.S_IMODE(info.st_mode), 0o600, "mode")
        check(stat.S_ISSOCK(info.st_mode), "it is a socket")
    check(not os.path.exists(path), "it is still there")


def test_socket_taken():
    """Another master's socket is left alone: an error for a path, a note for auto"""
    with master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        code, text = master("-w", "1", "--", *sleeper()).run()
        equal(code, 1, f"exit status ({text})")
        matches(text, rf"control '{socket_path()}': .*pid {m.pid} \(preforkd\)", "reason")
        equal(m.control("status", "GET").status, 200, "the first master's socket")


def run_dir(name, mode=0o700):
    path = os.path.join(folder(), name)
    os.mkdir(path, mode)
    if ROOT:
        os.chown(path, NOBODY, NOBODY)
    return path


def test_auto():
    """auto: below XDG_RUNTIME_DIR for ordinary users; without a place, or taken, the master runs"""
    where = run_dir("run")
    path = f"{where}/preforkd/control.sock"
    options = {"control": "auto", "wrapper": as_nobody(), "env": {"XDG_RUNTIME_DIR": where}}
    with Master("-w", "1", "--", *sleeper(), **options) as m:
        m.wait_ready()
        m.wait_log(f"control on {path}")
        equal(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700, "mode of the folder")
        with Master("-w", "1", "--", *sleeper(), **options) as second:
            second.wait_ready()
            second.wait_log(rf"no control socket: {path}: .*pid {m.pid} ")
        check(os.path.exists(path), "the second took the first one's socket away")
    check(not os.path.exists(path), "the socket is still there")
    options["env"] = {"XDG_RUNTIME_DIR": ""}
    with Master("-w", "1", "--", *sleeper(), **options) as m:
        m.wait_ready()
        m.wait_log("no control socket: XDG_RUNTIME_DIR is not set")
    os.chmod(f"{where}/preforkd", 0o777)
    options["env"] = {"XDG_RUNTIME_DIR": where}
    with Master("-w", "1", "--", *sleeper(), **options) as m:
        m.wait_ready()
        m.wait_log("no control socket: .*the folder is not ours alone")


def test_status():
    """GET /v1/status has the fields of the contract"""
    with master(config=pool("web", listen="127.0.0.1:0", workers=2)) as m:
        m.wait_ready()
        status = m.status()
        equal(list(status), ["version", "pid", "uptime_s", "state", "generation", "reload", "pools"],
              "fields")
        equal((status["pid"], status["state"], status["generation"]), (m.pid, "running", 1), "master")
        equal(status["reload"], {"result": "none", "reason": "", "at": None, "duration_s": 0.0},
              "reload")
        web = status["pools"][0]
        equal((web["name"], web["workers"], web["ready"]), ("web", 2, 2), "pool")
        check("--notify" in web["command"], "the arguments are there")
        equal(web["listeners"], [{"address": m.address(), "queue": 0, "backlog": 4096}], "listeners")
        for slot in web["slots"]:
            equal(slot["pid"], m.in_slot(slot["slot"], "web"), "pid")
            equal({"state": "up", "worker_state": "ready", "generation": 1, "restarts": 0,
                   "last_exit": None, "queue": 0, "next_pid": None},
                  {key: slot[key] for key in ("state", "worker_state", "generation", "restarts",
                                              "last_exit", "queue", "next_pid")}, "slot")
            check(slot["rss_bytes"] > 100000 and slot["cpu_s"] >= 0, f"figures: {slot}")
        os.kill(m.in_slot(1, "web"), signal.SIGKILL)
        wait_until(lambda: m.status()["pools"][0]["slots"][1]["restarts"] == 1, "a restart")
        last = m.status()["pools"][0]["slots"][1]["last_exit"]
        equal((last["reason"], last["code"], last["signal"]), ("signal", None, "KILL"), "last exit")
        matches(last["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "time")


def test_hostile_status_text():
    """What a worker says of itself is text, whatever bytes it sends"""
    worker = talker(b'STATUS=<b>\xff"\x01\\\xc3\xa4', b"STATUS=worse\0")
    with master("-w", "1", "--ready", "notify", "--", *worker) as m:
        m.wait_ready()
        text = m.status()["pools"][0]["slots"][0]["status"]
        equal(text, '<b>\\xff"\\x01\\x5cä', "text")


def test_reload():
    """A reload tells each slot's steps and the result; it may be left alone"""
    with master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "50ms", "--", *server()) as m:
        m.wait_ready()
        events = m.order("reload")
        equal(steps(events), [("main", slot, step) for slot in (0, 1)
                              for step in ("starting", "ready", "done")], "steps")
        equal([(e["done"], e["total"]) for e in events[:-1]],
              [(0, 2), (0, 2), (1, 2), (1, 2), (1, 2), (2, 2)], "progress")
        equal(events[1]["pid"], m.in_slot(0), "pid")
        equal(m.status()["reload"]["result"], "ok", "result")
        reply = m.control("reload?wait=0")
        equal((reply.status, json.loads(reply.body)), (202, {"result": "started"}), "without waiting")
        m.wait_table(2, gen=3)


def test_reload_failed():
    """A version that fails: the step, the reason, the slots that went back, the result"""
    config = pool("web", server(), workers=3, listen="127.0.0.1:0", min_uptime="50ms",
                  backoff="10ms")
    bad = pool("web", server("--crash-start=7", "--only-slot=1"), workers=3, listen="127.0.0.1:0",
               min_uptime="50ms")
    with master(config=config) as m:
        m.wait_ready()
        write(os.path.basename(m.config_path), bad)
        events = m.order("reload", "failed")
        failed = [e for e in events if e.get("step") == "failed"]
        equal([(e["slot"], e["reason"]) for e in failed], [(1, "exited with status 7")], "failed")
        equal(events[-1]["reason"], "web slot 1: exited with status 7", "reason")
        equal(steps(events)[-1], ("web", 0, "rolled back"), "last step")
        equal(m.status()["reload"]["reason"], events[-1]["reason"], "reason in the status")
        write(os.path.basename(m.config_path), "[pool:web]\nenv = SECRET\n")
        reason = m.order("reload", "failed")[-1]["reason"]
        matches(reason, "SECRET", "reason for the owner")
        check("SECRET" not in m.health("/status").body, "strangers see the configuration")


def test_reload_after_reload():
    """Whoever asks during a reload waits for the one after it"""
    with master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "300ms", "--", *server()) as m:
        m.wait_ready()
        results = []
        first = threading.Thread(target=lambda: results.append(m.order("reload")))
        first.start()
        wait_until(lambda: m.status()["state"] == "reloading", "the first reload")
        late = [threading.Thread(target=lambda: results.append(m.order("reload")))
                for _ in range(3)]
        for thread in late:
            thread.start()
        for thread in [first, *late]:
            thread.join(60)
        equal(len(results), 4, "results")
        equal(m.status()["generation"], 3, "generation after one reload and one for the other three")
        equal([len(steps(r)) for r in results], [6] * 4, "steps that each saw")


def test_scale():
    """More and fewer workers, relative and absolute; nothing is lost"""
    with master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "50ms", "--", *server()) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=4, rate=400, seconds=60) as load:
            equal(steps(m.order("scale?pool=main&workers=3"))[-1][2], "done", "last step")
            equal(len(m.workers()), 3, "workers")
            m.order("scale?pool=main&workers=%2B1")
            equal(len(m.workers()), 4, "workers")
            events = m.order("scale?pool=main&workers=-3")
            equal(sorted(steps(events)), [("main", slot, "done") for slot in (1, 2, 3)], "steps")
            equal(len(m.workers()), 1, "workers")
            load.expect_clean()
        m.order("scale?pool=main&workers=1")


def test_scale_failed():
    """A new worker that does not start is told; the slot goes on trying"""
    with master("-w", "1", "-l", "127.0.0.1:0", "--backoff", "20ms", "--backoff-max", "20ms", "--",
                *server("--crash-start=3", "--only-slot=1")) as m:
        m.wait_ready()
        events = m.order("scale?pool=main&workers=2", "failed")
        matches(events[-1]["reason"], "main slot 1: exited with status 3", "reason")
        equal(m.status()["pools"][0]["workers"], 2, "workers")


def test_restart():
    """One slot or a pool gets new workers of the same generation, and no request is lost"""
    with master("-w", "3", "-l", "127.0.0.1:0", "--min-uptime", "50ms", "--", *server()) as m:
        m.wait_ready()
        before = [who.pid for who in m.table()]
        with Hammer(m.address(), clients=4, rate=400, seconds=60) as load:
            events = m.order("restart?pool=main&slot=1")
            equal(steps(events), [("main", 1, step) for step in ("starting", "ready", "done")],
                  "steps")
            after = [who.pid for who in m.wait_table(3, gen=1)]
            equal([a == b for a, b in zip(before, after)], [True, False, True], "kept workers")
            m.order("restart?pool=main")
            last = [who.pid for who in m.wait_table(3, gen=1)]
            check(not set(after) & set(last), "a worker was kept")
            load.expect_clean()
        metrics = m.metrics()
        equal(metrics['preforkd_worker_restarts_total{pool="main",reason="manual"}'], 4, "counter")
        equal(m.status()["pools"][0]["slots"][1]["restarts"], 0, "restarts that nobody asked for")


def test_restart_failed():
    """A worker that does not come up again leaves the old one in its place"""
    flag = os.path.join(folder(), "broken")
    code = f"test -e {flag} && exit 9; exec \"$@\""
    with master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "50ms", "--", "/bin/sh", "-c", code,
                "sh", *server()) as m:
        m.wait_ready()
        before = m.table()
        open(flag, "w", encoding="utf-8").close()
        events = m.order("restart?pool=main", "failed")
        equal(steps(events), [("main", 0, "starting"), ("main", 0, "failed")], "steps")
        matches(events[-1]["reason"], "main slot 0: exited with status 9", "reason")
        equal([who.pid for who in m.wait_table(2)], [who.pid for who in before], "workers")


def test_one_at_a_time():
    """A reload asked for during a restart follows it; scaling and restarts are refused meanwhile"""
    with master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "500ms", "--", *server()) as m:
        m.wait_ready()
        equal(m.control("restart?pool=main&wait=0").status, 202, "restart")
        for path, reason in (("scale?pool=main&workers=3", "a restart is running"),
                             ("restart?pool=main", "a restart is running")):
            reply = m.control(path)
            equal((reply.status, json.loads(reply.body)), (409, {"error": reason}), path)
        m.order("reload")
        matches(m.log(), r"(?s)restart complete.*reload begins", "order")


def test_stop():
    """A stop tells when each slot is down; the last line comes before the master goes"""
    with master("-w", "3", "-l", "127.0.0.1:0", "--drain-delay", "200ms", "--", *server()) as m:
        m.wait_ready()
        result = []
        thread = threading.Thread(target=lambda: result.append(m.order("stop")))
        thread.start()
        wait_until(lambda: m.count_log("draining"), "the drain")
        reply = m.control("reload")
        equal((reply.status, json.loads(reply.body)), (409, {"error": "the master is stopping"}),
              "reload during the stop")
        thread.join(20)
        equal(sorted(steps(result[0])), [("main", slot, "done") for slot in range(3)], "steps")
        equal(m.wait(), 0, "exit status")


def test_stop_during_reload():
    """Who waits for a reload is told when the master stops instead"""
    with master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "30s", "--", *server()) as m:
        m.wait_ready()
        results = []
        threads = [threading.Thread(target=lambda: results.append(m.order("reload", "failed")))
                   for _ in range(2)]
        for thread in threads:
            thread.start()
            wait_until(lambda: m.status()["state"] == "reloading", "the reload")
        wait_until(lambda: m.count_log("control: reload") == 2, "both requests")
        m.order("stop")
        for thread in threads:
            thread.join(20)
        equal([events[-1]["reason"] for events in results], ["the master stops"] * 2, "reasons")


def test_upgrade():
    """An upgrade is told by the new program; the socket stays and a failed one is told by the old"""
    with master(config=pool(listen="127.0.0.1:0", workers=1)) as m:
        m.wait_ready()
        good = pool(listen="127.0.0.1:0", workers=1)
        write(os.path.basename(m.config_path), "[pool:main]\nenv = SECRET\n")
        m.order("reload", "failed")
        inode = os.stat(socket_path()).st_ino
        up = m.status()["uptime_s"]
        equal(m.order("upgrade"), [{"result": "ok"}], "events")
        wait_until(lambda: m.count_log("took over"), "the new program")
        equal(os.stat(socket_path()).st_ino, inode, "the socket's file")
        status = m.status()
        equal(status["pid"], m.pid, "pid")
        check(status["uptime_s"] > up, "the master's uptime began anew")
        equal(m.metrics()["preforkd_last_reload_success"], 0, "the last reload")
        check("SECRET" not in m.health("/status").body, "strangers see the configuration")
        write(os.path.basename(m.config_path), good)
        m.order("reload")


def test_upgrade_failed():
    """An upgrade to a program that refuses tells its reason"""
    path = write("preforkd", f'#!/bin/bash\nexec -a "$0" "{PREFORKD}" "$@"\n', 0o755)
    m = master("-w", "1", "--", *sleeper())
    m.args = ["bash", "-c", f'exec -a "{path}" "$0" "$@"', *m.args]
    with m:
        m.wait_ready()
        write("preforkd", "#!/bin/bash\necho no such state\nexit 1\n", 0o755)
        events = m.order("upgrade", "failed")
        matches(events[-1]["reason"], "no such state", "reason")
        equal(m.status()["state"], "running", "state")


def test_bad_requests():
    """Wrong methods, paths and arguments have their statuses, and the error in JSON"""
    cases = {("GET", "nothing"): 404, ("POST", "status"): 405, ("GET", "reload"): 405,
             ("DELETE", "stop"): 405, ("POST", "scale"): 400, ("POST", "scale?pool=main"): 400,
             ("POST", "scale?pool=x&workers=1"): 404, ("POST", "scale?pool=main&workers=x"): 400,
             ("POST", "scale?pool=main&workers=0"): 400, ("POST", "scale?pool=main&workers=-1"): 400,
             ("POST", "scale?pool=main&workers=99999999999999999999"): 400,
             ("POST", "scale?pool=main&workers="): 400, ("POST", "scale?pool=%00&workers=1"): 400,
             ("POST", "scale?pool=main&workers=4097"): 400, ("POST", "restart"): 400,
             ("POST", "restart?pool=main&slot=1"): 404, ("POST", "restart?pool=main&slot=-1"): 404,
             ("POST", "restart?pool=main&slot="): 404, ("POST", "restart?pool=main&slot=x"): 404,
             ("POST", "restart?pool=" + "x" * 2000): 400}
    with master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        for (method, path), wanted in cases.items():
            reply = m.control(path, method)
            equal(reply.status, wanted, f"{method} {path}")
            check(json.loads(reply.body)["error"], f"{method} {path}: {reply.body}")
        equal(len(m.workers()), 1, "workers")


def ask_as(user, path):
    """What another user gets from the socket."""
    code = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
            "try:\n"
            "    s.sendall(b'GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
            "except BrokenPipeError:\n"
            "    pass\n"
            "sys.stdout.buffer.write(s.recv(65536))\n")
    return subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
                           sys.executable, "-c", code, path], capture_output=True, text=True,
                          timeout=30, check=False)


def test_other_users():
    """Another user is kept away by the mode, and where that was loosened by who he is"""
    need_root()
    with master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        matches(ask_as(NOBODY, socket_path()).stderr, "PermissionError", "by its mode")
        os.chmod(socket_path(), 0o666)
        matches(ask_as(NOBODY, socket_path()).stdout, r"^HTTP/1.1 403 ", "by its credentials")
        matches(ask_as(0, socket_path()).stdout, r"^HTTP/1.1 200 ", "root")
        m.wait_log(rf"control: refused: it runs as user {NOBODY}")


def test_workers_may_not_ask():
    """A worker, and what it started, is refused even as the master's own user"""
    answer = os.path.join(folder(), "answer")
    code = ("import os, socket, subprocess, sys, time\n"
            "if os.fork() == 0:\n"
            "    s = socket.socket(socket.AF_UNIX)\n"
            f"    s.connect({socket_path()!r})\n"
            f"    open({answer + '.new'!r}, 'wb').write(s.recv(1000))\n"
            f"    os.rename({answer + '.new'!r}, {answer!r})\n"
            "time.sleep(1000)\n")
    with master("-w", "1", "--", sys.executable, "-c", code) as m:
        wait_until(lambda: os.path.exists(answer), "an answer")
        with open(answer, encoding="utf-8") as file:
            matches(file.read(), r"^HTTP/1.1 403 ", "answer to a worker's child")
        m.wait_log("control: refused: it belongs to a worker")
        equal(m.control("status", "GET").status, 200, "for others")


@timeout(120)
def test_attack():
    """Half requests, 10,000 connections and readers that never read: bounded, and all comes back"""
    count = 1000 if QUICK else 10000
    with master("-w", "2", "-l", "127.0.0.1:0", "--min-uptime", "20ms", "--", *server()) as m:
        m.wait_ready()
        m.status()
        before = (len(proc.fds(m.pid)), proc.rss_kb(m.pid))
        halves = []
        for i in range(100):
            sock = connect(f"unix:{socket_path()}")
            sock.sendall(b"POST /v1/reload HTTP/1.1\r\nX: "[:5 + i % 25])
            halves.append(sock)
        for _ in range(count):
            connect(f"unix:{socket_path()}").close()
        mute = [connect(f"unix:{socket_path()}") for _ in range(30)]
        for sock in mute:
            sock.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(5):
            equal(m.control("status", "GET").status, 200, "status")
            equal(m.health("/healthz/liveness").status, 200, "liveness")
        check(len(proc.fds(m.pid)) <= before[0] + 40, f"{len(proc.fds(m.pid))} descriptors")
        for sock in halves + mute:
            sock.close()
        wait_until(lambda: m.status()["state"] == "running", "the reloads are over")
        wait_until(lambda: len(proc.fds(m.pid)) <= before[0] + 1, "descriptors come back")
        diag(f"descriptors {before[0]} -> {len(proc.fds(m.pid))}, "
             f"memory {before[1]} -> {proc.rss_kb(m.pid)} kB after {count} connections")
        check(SANITIZERS or proc.rss_kb(m.pid) < before[1] + 8192, "memory grew")

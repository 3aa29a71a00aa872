"""preforkctl, before a master that is none and says whatever a test wants."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import termios
import time

from ctl import PREFORKCTL, SCREEN, Terminal, ctl, expect_restored
from fake_master import FakeMaster, answer, head, lines
from harness import check, equal, folder, matches, timeout, wait_until

STATUS = {
    "version": "0.1.0", "pid": 4242, "uptime_s": 9000, "state": "running", "generation": 3,
    "reload": {"result": "failed", "reason": "web.0: exit 1", "at": "2026-11-21T05:00:00.001Z",
               "duration_s": 1.5},
    "pools": [{
        "name": "web", "command": "node server.js", "workers": 2, "ready": 2,
        "listeners": [{"address": "*:8080", "queue": 0, "backlog": 4096}],
        "slots": [{
            "slot": slot, "state": "up", "worker_state": "ready", "pid": 4300 + slot,
            "generation": 3, "uptime_s": 61, "restarts": slot, "last_exit": None, "queue": 7,
            "rss_bytes": 1 << 20, "cpu_s": 0.25, "status": f"note {slot}", "next_pid": None,
        } for slot in range(2)]}]}

SLOT = {"event": "slot", "pool": "web", "slot": 0, "step": "starting", "done": 0, "total": 2}


def slowly(data):
    """Sends it byte by byte, so that every border between pieces occurs."""
    def send(connection):
        for i in range(len(data)):
            connection.sendall(data[i:i + 1])
    return send


def silent(connection):
    """Answers nothing until the other side goes away."""
    while connection.recv(4096):
        pass


# ---- status ----

def test_status():
    """status prints a header and an aligned table, without colour and control characters"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        code, out, err = ctl(fake.path, "status")
        equal((code, err), (0, ""), "outcome")
        rows = out.splitlines()
        equal(rows[0], "preforkd 0.1.0[4242]: running, generation 3, up 2h30m", "first line")
        matches(rows[1], r"^last reload: failed, .* ago, took 1.50s: web.0: exit 1$", "second line")
        equal(rows[2], "web: 2/2 ready on *:8080: node server.js", "pool")
        equal(rows[4], "POOL  SLOT  STATE   PID  GEN  UPTIME  RESTARTS  QUEUE    CPU   RSS  NOTE",
              "titles")
        equal(rows[6], "web      1  up     4301    3   1m01s         1      7  0.25s  1.0M  note 1",
              "row")
        check("\033" not in out, "colour")
        equal(fake.requests, ["GET /v1/status"], "requests")
        matches(fake.heads[0], r"^User-Agent: preforkctl/\d", "head")


def test_status_json():
    """status --json prints the master's own JSON, whatever else it says"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        code, out, err = ctl(fake.path, "status", "--json")
        equal((code, err, json.loads(out)), (0, "", STATUS), "outcome")


def test_status_pieces():
    """An answer that comes byte by byte is the same"""
    with FakeMaster({"GET /v1/status": slowly(answer(STATUS))}) as fake:
        code, out, _ = ctl(fake.path, "status", "--json")
        equal((code, json.loads(out)), (0, STATUS), "outcome")


def test_watch():
    """status --watch prints again and again, the share of a processor from the second time on"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        for args, pattern in ((["--json"], rb'^\{"version".*\n\{"version"'), ([], rb" 0\.0%")):
            with subprocess.Popen([PREFORKCTL, "-s", fake.path, "status", "--watch", *args],
                                  stdout=subprocess.PIPE) as process:
                seen = b""
                while not re.search(pattern, seen):
                    piece = os.read(process.stdout.fileno(), 65536)
                    check(piece, f"it ended: {seen}")
                    seen += piece
                process.terminate()


# ---- operations ----

def test_requests():
    """Every command asks for what the interface says"""
    done = lines({"result": "ok"})
    wanted = {
        ("reload",): "POST /v1/reload",
        ("scale", "web", "4"): "POST /v1/scale?pool=web&workers=4",
        ("scale", "web", "+1"): "POST /v1/scale?pool=web&workers=%2B1",
        ("scale", "web", "-1"): "POST /v1/scale?pool=web&workers=-1",
        ("restart", "web"): "POST /v1/restart?pool=web",
        ("restart", "web.1"): "POST /v1/restart?pool=web&slot=1",
        ("upgrade",): "POST /v1/upgrade",
        ("stop",): "POST /v1/stop",
    }
    with FakeMaster({request: done for request in wanted.values()}) as fake:
        for args, request in wanted.items():
            code, out, err = ctl(fake.path, *args)
            equal((code, err), (0, ""), f"outcome of {args}")
            matches(out, rf"^{args[0]}: done after \d", f"output of {args}")
            equal(fake.requests.pop(), request, f"request of {args}")
            matches(fake.heads.pop(), r"^Content-Length: 0\r$", "head")


def test_no_wait():
    """reload --no-wait is done when the reload has begun"""
    with FakeMaster({"POST /v1/reload?wait=0": answer({"result": "started"}, "202 Accepted")}) as m:
        equal(ctl(m.path, "reload", "--no-wait"), (0, "reload: started\n", ""), "outcome")


def test_progress_lines():
    """reload tells each slot's step in a line, and the outcome"""
    with FakeMaster({"POST /v1/reload": slowly(lines(
            SLOT, {**SLOT, "step": "ready", "pid": 77}, {**SLOT, "step": "done", "done": 1},
            {"event": "unheard-of", "text": "by the way"}, {"event": "more"},
            {"result": "ok"}))}) as fake:
        code, out, err = ctl(fake.path, "reload")
        equal((code, err), (0, ""), "outcome")
        matches(out, r"^web\.0: starting\nweb\.0\[77\]: ready\nweb\.0: done \(1 of 2\)\n"
                     r"by the way\nreload: done after \S+s\n$", "output")


FAILURE = lines({**SLOT, "step": "failed", "pid": 77, "reason": "exit 1"},
                {"event": "output", "pool": "web", "slot": 0, "pid": 77, "line": "Error: boom"},
                {**SLOT, "step": "rolled back"},
                {"result": "failed", "reason": "web.0: exited before it was ready"})


def test_failure():
    """A reload that fails: slot, reason and the worker's last lines, exit status 1"""
    with FakeMaster({"POST /v1/reload": FAILURE}) as fake:
        code, out, err = ctl(fake.path, "reload")
        equal(code, 1, "exit status")
        equal(out, "web.0[77]: failed: exit 1\nweb.0[77]> Error: boom\nweb.0: rolled back\n", "stdout")
        equal(err, "preforkctl: reload: web.0: exited before it was ready\n", "stderr")


def test_failure_json():
    """The same with --json: the lines as they are, exit status 1"""
    with FakeMaster({"POST /v1/reload": FAILURE}) as fake:
        code, out, err = ctl(fake.path, "reload", "--json")
        equal((code, err), (1, "preforkctl: reload: web.0: exited before it was ready\n"), "outcome")
        equal([list(json.loads(line))[0] for line in out.splitlines()],
              ["event", "event", "event", "result"], "lines")


def test_long_operation():
    """An operation may pause as long as the master answers other requests"""
    def pause(connection):
        connection.sendall(lines(SLOT))
        time.sleep(12)
        connection.sendall(b'{"result":"ok"}\n')
    with FakeMaster({"POST /v1/reload": pause, "GET /v1/status": answer(STATUS)}) as fake:
        code, _, err = ctl(fake.path, "reload")
        equal((code, err), (0, ""), "outcome")
        check("GET /v1/status" in fake.requests, f"requests: {fake.requests}")


# ---- what goes wrong ----

def test_refused():
    """The master's own words about a request that it refuses, exit status 1"""
    with FakeMaster({"POST /v1/stop": answer({"error": "no pool \x1b[31m"}, "404 Not Found"),
                     "POST /v1/upgrade": answer("<html>", "500 Oh", "text/html"),
                     "POST /v1/reload": answer({}, "500 Oh")}) as fake:
        equal(ctl(fake.path, "stop"), (1, "", "preforkctl: stop: no pool \\x1b[31m\n"), "stop")
        code, out, err = ctl(fake.path, "upgrade")
        equal((code, out), (1, ""), "upgrade")
        equal(ctl(fake.path, "reload"),
              (1, "", "preforkctl: reload: the master answers with HTTP status 500\n"), "reload")
        code, out, err = ctl(fake.path, "stop", "--json")
        equal((code, json.loads(out)), (1, {"error": "no pool \x1b[31m"}), "JSON")
        check("\x1b" not in out + err, "control characters")


def test_went_away():
    """A connection that ends without a result is a failure"""
    cut = answer(STATUS)[:-20]
    for reply, args in ((lines(SLOT), ["reload"]), (head(), ["reload"]), (cut, ["status"]),
                        (lines(SLOT) + b'{"result":"o', ["reload"]),
                        (answer({"pools": []}), ["stop"])):
        with FakeMaster({f"POST /v1/{args[0]}": reply, f"GET /v1/{args[0]}": reply}) as fake:
            code, _, err = ctl(fake.path, *args)
            equal(code, 1, f"exit status with {reply}")
            check(err.startswith(f"preforkctl: {args[0]}: ") and err.count("\n") == 1, err)


def test_no_answer_at_all():
    """A peer that closes, or talks something else, is no master: exit status 3"""
    for reply in (lambda connection: None, b"220 mail\r\n", b"\x00" * 100):
        with FakeMaster({"GET /v1/status": reply}) as fake:
            code, _, err = ctl(fake.path, "status")
            equal(code, 3, f"exit status with {reply}: {err}")


@timeout(120)
def test_silence():
    """A master that never answers, or stops answering halfway, is given up in bounded time"""
    def trickle(connection):
        connection.sendall(head("application/json"))
        while True:
            connection.sendall(b" ")
            time.sleep(0.5)

    def stuck(connection):
        connection.sendall(lines(SLOT))
        silent(connection)
    with FakeMaster({"GET /v1/status": silent, "POST /v1/stop": trickle,
                     "POST /v1/reload": stuck}) as fake:
        for args, wanted in ((["status"], 3), (["stop"], 1), (["reload"], 1)):
            code, _, err = ctl(fake.path, *args, limit=60)
            equal(code, wanted, f"exit status of {args}: {err}")
            check("does not answer" in err, err)


def test_too_much():
    """Endless lines and endless values are given up"""
    def flood(kind):
        def send(connection):
            connection.sendall(head(kind))
            while True:
                connection.sendall(b"x" * 65536)
        return send
    with FakeMaster({"POST /v1/stop": flood("application/x-ndjson"),
                     "POST /v1/reload": flood("application/json")}) as fake:
        for command in ("stop", "reload"):
            code, out, err = ctl(fake.path, command)
            equal((code, out), (1, ""), command)
            check("it says too much" in err, err)


def test_not_reachable():
    """No socket, nobody behind it, no right to it, no idea where: exit status 3"""
    dead = os.path.join(folder(), "dead")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(dead)
    code, out, err = ctl(dead, "status")
    os.unlink(dead)
    equal((code, out, err), (3, "", f"preforkctl: status: no master answers at {dead}: "
                                    "Connection refused\n"), "dead socket")
    for command in (["status"], ["reload"], ["scale", "web", "1"], ["stop"], ["status", "--watch"]):
        code, out, err = ctl(dead, *command)
        equal((code, out), (3, ""), f"{command} without a socket")
        check(err.endswith(": No such file or directory\n"), err)
    code, _, err = ctl("/" + "x" * 200, "status")
    equal((code, err.count("\n")), (3, 1), f"a path that is too long: {err}")


def test_crowded():
    """A queue that is full is waited for, but not for ever"""
    path = os.path.join(folder(), "crowded")
    with socket.socket(socket.AF_UNIX) as sock, contextlib.ExitStack() as clients:
        sock.bind(path)
        sock.listen(0)
        clients.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        code, out, err = ctl(path, "status", limit=60)
        equal((code, out), (3, ""), "outcome")
        check(err.endswith("its queue is full\n"), err)
        with subprocess.Popen([PREFORKCTL, "-s", path, "status", "--json"],
                              stdout=subprocess.PIPE) as process:
            time.sleep(0.5)  # it has tried in vain by now, most likely
            sock.accept()[0].close()
            with sock.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(answer(STATUS))
            equal((json.load(process.stdout), process.wait(20)), (STATUS, 0), "after a while")
    os.unlink(path)


def test_output_fails():
    """Output that cannot be written is a failure; descriptors that are closed do no harm"""
    with FakeMaster({"GET /v1/status": answer(STATUS),
                     "POST /v1/reload": lines(SLOT, {"result": "ok"})}) as fake:
        for args in ("status", "status --json", "reload", "reload --json", "status --watch"):
            result = subprocess.run(["/bin/sh", "-c", f'"$1" -s "$2" {args} >/dev/full', "sh",
                                     PREFORKCTL, fake.path], capture_output=True, timeout=30,
                                    text=True, check=False)
            equal((result.returncode, result.stderr.count("the output cannot be written")), (1, 1),
                  f"outcome of {args}: {result.stderr}")
        result = subprocess.run(["/bin/sh", "-c", '"$1" -s "$2" status <&- >&-', "sh", PREFORKCTL,
                                 fake.path], capture_output=True, timeout=30, check=False)
        equal((result.returncode, result.stderr), (0, b""), "closed descriptors")
        equal(fake.requests[-1], "GET /v1/status", "request")


def test_socket_choice():
    """--socket, else PREFORKD_CONTROL"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        env = {"PREFORKD_CONTROL": fake.path, "http_proxy": "http://127.0.0.1:1"}
        equal(ctl(None, "status", env=env)[0], 0, "by the environment")
        equal(ctl("/nowhere", "status", env=env)[0], 3, "--socket wins")


def test_usage():
    """Wrong usage is exit status 2 with one line; help and version are not"""
    for args in ([], ["nonsense"], ["status", "web"], ["scale", "web"], ["scale", "web", "x"],
                 ["restart", "web.x"], ["--nonsense"], ["reload", "--watch"], ["top"]):
        code, out, err = ctl("/nowhere", *args)
        equal((code, out, err.count("\n")), (2, "", 1), f"outcome of {args}: {err}")
    code, out, err = ctl(None, "--help")
    equal((code, err), (0, ""), "help")
    matches(out, r"^Usage: preforkctl ", "help")
    matches(ctl(None, "-V")[1], r"^preforkctl \d+\.\d+\.\d+$", "version")


def test_hostile_text():
    """What workers say reaches the terminal without control characters, in every command"""
    evil = "\x1b]0;x\x07\x1b[2J\r\n\x9b31m\u202e\x7f"
    status = json.loads(json.dumps(STATUS))
    status["reload"]["reason"] = status["version"] = status["pools"][0]["command"] = evil
    status["pools"][0]["slots"][0]["status"] = evil
    events = lines({**SLOT, "pool": evil, "step": evil, "reason": evil},
                   {"event": "output", "line": evil}, {"event": "x", "text": evil},
                   {"result": "failed", "reason": evil})
    with FakeMaster({"GET /v1/status": answer(status), "POST /v1/reload": events}) as fake:
        for args in (["status"], ["reload"], ["status", "--json"], ["reload", "--json"]):
            _, out, err = ctl(fake.path, *args)
            check(out, f"{args} prints nothing")
            bad = [c for c in out + err if (c < " " and c != "\n") or "\x7f" <= c <= "\x9f" or
                   (c == "\u202e" and "--json" not in args)]
            equal(bad, [], f"control characters of {args}")


def test_reader_goes_away():
    """A reader that closes the pipe ends preforkctl"""
    def endless(connection):
        connection.sendall(head())
        while True:
            connection.sendall(json.dumps(SLOT).encode() + b"\n")
    with FakeMaster({"POST /v1/reload": endless}) as fake:
        with subprocess.Popen([PREFORKCTL, "-s", fake.path, "reload"],
                              stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            process.stdout.close()
            check(process.wait(20) != 0, "exit status")


# ---- on a terminal ----

def test_colour():
    """Colour on a terminal, and none with NO_COLOR or TERM=dumb"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        for env, coloured in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False),
                              ({"NO_COLOR": "", "TERM": "dumb"}, False)):
            with Terminal("-s", fake.path, "status", env=env) as t:
                t.expect("note 1")
                t.wait()
                equal("\033[32m" in t.seen, coloured, f"colour with {env}")


def test_width():
    """Lines of the table are no wider than the terminal"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        with Terminal("-s", fake.path, "status", size=(24, 44), env={"NO_COLOR": "1"}) as t:
            t.expect("note 1")
            t.wait()
            table = t.seen.replace("\r", "").split("\n\n")[1]
            check(all(len(line) <= 44 for line in table.splitlines()), table)


def test_bar():
    """reload draws a bar below its lines and takes it away in the end"""
    with FakeMaster({"POST /v1/reload": lines(SLOT, {**SLOT, "step": "done", "done": 1},
                                              {"result": "ok"})}) as fake:
        with Terminal("-s", fake.path, "reload", env={"NO_COLOR": "1"}) as t:
            t.expect(r"web\.0: starting\r\n\[\.{40}\] 0 of 2\r\033\[Kweb\.0: done \(1 of 2\)\r\n"
                     r"\[#{20}\.{20}\] 1 of 2\r\033\[Kreload: done after \S+\r\n$")
            equal(t.wait(), 0, "exit status")


def test_top():
    """top shows the status, refreshes it, knows shares of a processor, and q gives the screen back"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        for args in (["top"], ["status", "--watch"]):
            with Terminal("-s", fake.path, *args) as t:
                at = t.expect(SCREEN + ".*note 1")
                t.expect(r" 0\.0%", at)
                check(not termios.tcgetattr(t.fd)[3] & termios.ECHO, "no echo")
                t.type("q")
                equal(t.wait(), 0, "exit status")
                expect_restored(t)


def test_top_signals():
    """top gives the terminal back on every signal that ends it"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
                       signal.SIGPIPE, signal.SIGSEGV, signal.SIGABRT):
            with Terminal("-s", fake.path, "top") as t:
                t.expect("note 1")
                os.kill(t.pid, number)
                status = t.wait()
                check(status != 0, f"status after {number.name}")
                expect_restored(t)
        with Terminal("-s", fake.path, "top") as t:
            t.expect("note 1")
            t.type("\x03")
            equal(os.waitstatus_to_exitcode(t.wait()), 128 + signal.SIGINT, "Ctrl-C")
            expect_restored(t)


def test_top_stop():
    """Ctrl-Z gives the terminal back, and going on takes it again"""
    with FakeMaster({"GET /v1/status": answer(STATUS)}) as fake:
        with Terminal("-s", fake.path, "top") as t:
            t.expect("note 1")
            t.type("\x1a")
            wait_until(lambda: os.waitpid(t.pid, os.WNOHANG | os.WUNTRACED)[0], "it is stopped")
            expect_restored(t)
            at = len(t.seen)
            os.kill(t.pid, signal.SIGCONT)
            t.expect(SCREEN + ".*note 1", at)
            t.type("q")
            equal(t.wait(), 0, "exit status")
            expect_restored(t)


def test_top_resize():
    """top follows the size of the terminal, and scrolls"""
    status = json.loads(json.dumps(STATUS))
    status["pools"][0]["slots"] = [{**STATUS["pools"][0]["slots"][0], "slot": slot,
                                    "status": f"note {slot}."} for slot in range(100)]
    with FakeMaster({"GET /v1/status": answer(status)}) as fake:
        with Terminal("-s", fake.path, "top", size=(10, 100)) as t:
            at = t.expect(r"note 4\.\033\[K\033\[J")
            t.resize(12, 100)
            at = t.expect(r"note 6\.\033\[K\033\[J", at)
            t.type("j")
            at = t.expect(r"note 7\.\033\[K\033\[J", at)
            t.type("\033[6~")
            at = t.expect(r"note 19\.\033\[K\033\[J", at)
            t.type("      \033[B" * 3)
            at = t.expect(r"note 99\.\033\[K\033\[J", at)
            t.type("\033[Ak")
            at = t.expect(r"note 97\.\033\[K\033\[J", at)
            t.type("b" * 20)
            at = t.expect(r"RESTARTS", at)
            t.resize(12, 40)
            t.expect(r"STATE(?:(?!RESTARTS)[^\r])*NOTE", at)
            t.type("q")
            equal(t.wait(), 0, "exit status")


@timeout(120)
def test_top_master_goes():
    """top survives the master going away, coming back, and saying nothing"""
    with Terminal("-s", os.path.join(folder(), "fake"), "top", size=(24, 200)) as t:
        at = t.expect("no master answers at [^ ]*: No such file or directory")
        with FakeMaster({"GET /v1/status": answer(STATUS)}):
            at = t.expect("note 1", at)
        at = t.expect("no master answers at [^ ]*: No such file or directory.*note 1", at)
        with FakeMaster({"GET /v1/status": silent}):
            at = t.expect("does not answer.*note 1", at)
            t.type("q")
            equal(t.wait(), 0, "exit status")
        expect_restored(t)

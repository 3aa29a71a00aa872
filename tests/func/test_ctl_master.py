"""preforkctl and the real master."""
import json
import os
import re
import signal

import proc
from ctl import Terminal, ctl, expect_restored
from harness import (NOBODY, ROOT, Master, as_nobody, check, equal, folder, matches, need_root, pool,
                     server, sleeper, timeout, wait_until)


def socket_path():
    return os.path.join(folder(), "control")


def config(command=None, **settings):
    return pool("web", command or server(), **{"listen": "127.0.0.1:0", "workers": 2,
                                               "min_uptime": "50ms", "output": "tag", **settings})


def master(text=None, **options):
    return Master(config=text or config(), control=socket_path(), **options)


def rows():
    """{"POOL.SLOT": {TITLE: cell}} of the table."""
    code, out, err = ctl(socket_path(), "status")
    equal((code, err), (0, ""), "status")
    table = out.split("\n\n")[1].splitlines()
    titles = table[0].split()
    cells = [line.split(maxsplit=len(titles) - 1) for line in table[1:]]
    return {f"{row[0]}.{row[1]}": dict(zip(titles, row)) for row in cells}


def succeed(*args):
    """The output of a command that must succeed."""
    code, out, err = ctl(socket_path(), *args, limit=60)
    equal((code, err), (0, ""), f"{args}: {out}")
    return out


def steps(out):
    """[(POOL.SLOT, step)] of its lines."""
    return re.findall(r"^(\w+\.\d+)(?:\[\d+\])?: ([a-z ]+)", out, re.MULTILINE)


def test_status():
    """The table tells what runs, and how a worker ended"""
    with master() as m:
        m.wait_ready()
        header = succeed("status").splitlines()
        matches(header[0], rf"^preforkd \S+\[{m.pid}\]: running, generation 1, up \d+", "master")
        equal(header[1], "last reload: none", "reload")
        matches(header[2], rf"^web: 2/2 ready on {m.address()}: .*server --notify$", "pool")
        for name, row in rows().items():
            pid = m.in_slot(int(name[-1]), "web")
            equal((row["STATE"], row["PID"], row["GEN"], row["RESTARTS"], row["QUEUE"]),
                  ("up", str(pid), "1", "0", "0"), name)
            matches(row["CPU"] + " " + row["RSS"], r"^\d+\.\d\ds \d\S*[KM]$", "figures")
        os.kill(m.in_slot(1, "web"), signal.SIGKILL)
        wait_until(lambda: rows()["web.1"]["RESTARTS"] == "1", "a restart")
        matches(rows()["web.1"]["NOTE"], r"^signal KILL \d+s ago$", "note")
        equal(json.loads(succeed("status", "--json"))["pid"], m.pid, "JSON")


def test_reload():
    """reload tells each slot's steps and comes back when all workers are new"""
    with master() as m:
        m.wait_ready()
        out = succeed("reload")
        equal([{row["STATE"], row["GEN"]} for row in rows().values()], [{"up", "2"}] * 2, "slots")
        equal(steps(out), [(f"web.{slot}", step) for slot in (0, 1)
                           for step in ("starting", "ready", "done ")], "steps")
        matches(succeed("status"), r"^last reload: ok, \d+s ago, took \d", "result")
        events = [json.loads(line) for line in succeed("reload", "--json").splitlines()]
        equal(events[-1], {"result": "ok"}, "last line")
        equal(succeed("reload", "--no-wait"), "reload: started\n", "without waiting")
        wait_until(lambda: {row["GEN"] for row in rows().values()} == {"4"}, "the third reload")


def test_reload_fails():
    """A reload of a version that fails: slot, reason, last lines, exit status 1; the old goes on"""
    with master() as m:
        m.wait_ready()
        before = m.table("web")
        m.write_config(config(["/bin/sh", "-c", "echo loading; echo 'Error: no \033[31mmodule' >&2; "
                                                "exit 3"]))
        code, out, err = ctl(socket_path(), "reload")
        equal(code, 1, "exit status")
        matches(out, r"^web\.0(\[\d+\])?: failed: .*status 3", "step")
        matches(out, r"^web\.0(\[\d+\])?> loading$", "first line of the worker")
        matches(out, r"^web\.0(\[\d+\])?> Error: no .x1b\[31mmodule$", "last line of the worker")
        matches(err, r"^preforkctl: reload: .*web.*0.*status 3", "reason")
        check("\033" not in out + err, "control characters")
        equal([who.pid for who in m.table("web")], [who.pid for who in before], "workers")
        matches(succeed("status"), r"^last reload: failed, .*status 3", "status")


def test_reload_fails_in_silence():
    """A version that fails without a word is not blamed with the words of the one before"""
    with master() as m:
        m.wait_ready()
        for script, words in (("echo boom; exit 3", ["boom"]), ("exit 4", [])):
            m.write_config(config(["/bin/sh", "-c", script]))
            code, out, _err = ctl(socket_path(), "reload")
            equal((code, re.findall(r"> (.*)", out)), (1, words), "exit status and last lines")


def test_reload_refused():
    """A configuration with a mistake: file, line and reason, exit status 1"""
    with master() as m:
        m.wait_ready()
        m.write_config(config(nonsense=1))
        code, out, err = ctl(socket_path(), "reload")
        equal((code, out), (1, ""), "outcome")
        matches(err, r"^preforkctl: reload: \S+:\d+: .*nonsense", "reason")


def test_scale():
    """scale sets, raises and lowers, and comes back when it is so"""
    with master() as m:
        m.wait_ready()
        for number, count in (("4", 4), ("-1", 3), ("+2", 5), ("1", 1)):
            succeed("scale", "web", number)
            equal(list(rows()), [f"web.{slot}" for slot in range(count)], f"slots after {number}")
            equal({row["STATE"] for row in rows().values()}, {"up"}, "states")
        for args in (["scale", "web", "0"], ["scale", "nope", "1"], ["restart", "nope"],
                     ["restart", "web.9"]):
            code, out, err = ctl(socket_path(), *args)
            equal((code, out), (1, ""), f"{args}: {err}")


def test_restart():
    """restart replaces all workers of a pool, or one, and reads no settings"""
    with master() as m:
        m.wait_ready()
        m.write_config("rubbish")
        before = {who.slot: who.pid for who in m.table("web")}
        succeed("restart", "web.1")
        after = {who.slot: who.pid for who in m.table("web")}
        equal((after[0] == before[0], after[1] == before[1]), (True, False), "one slot")
        succeed("restart", "web")
        last = {who.slot: who.pid for who in m.table("web")}
        check(not set(last.values()) & set(after.values()), "both slots")
        equal({row["GEN"] for row in rows().values()}, {"1"}, "generation")


def test_stop():
    """stop comes back when it is done; then nobody is there any more"""
    with master() as m:
        m.wait_ready()
        workers = m.workers()
        matches(succeed("stop"), r"^stop: done after \d", "output")
        equal([pid for pid in workers if proc.alive(pid)], [], "workers that are left")
        equal(m.wait(), 0, "exit status of the master")
        equal(ctl(socket_path(), "status")[0], 3, "exit status without a master")


def test_foreign_user():
    """The socket is not for others: exit status 3"""
    need_root()
    with master() as m:
        m.wait_ready()
        code, out, err = ctl(socket_path(), "stop", wrapper=as_nobody())
        equal((code, out), (3, ""), "outcome")
        check(err.endswith("Permission denied\n"), err)


def test_usual_place():
    """Without any hint both mean the same socket"""
    where = os.path.join(folder(), "run")
    os.mkdir(where, 0o700)
    if ROOT:
        os.chown(where, NOBODY, NOBODY)
    env = {"XDG_RUNTIME_DIR": where}
    with Master("-w", "1", "--", *sleeper(), control="auto", wrapper=as_nobody(), env=env) as m:
        m.wait_log("control on ")
        code, out, err = ctl(None, "status", "--json", wrapper=as_nobody(), env=env)
        equal((code, err), (0, ""), "outcome")
        equal(json.loads(out)["pid"], m.pid, "who answers")


@timeout(120)
def test_top():
    """top follows a worker's end, and survives the master's restart"""
    with Terminal("-s", socket_path(), "top", size=(24, 200), env={"NO_COLOR": "1"}) as t:
        with master() as m:
            m.wait_ready()
            at = t.expect(rf"\[{m.pid}\]: running.*web +1 +up +{m.in_slot(1, 'web')} ")
            os.kill(m.in_slot(1, "web"), signal.SIGKILL)
            at = t.expect(r"web +1 +up +(\d+) .* signal KILL \d+s ago", at)
        at = t.expect("no master answers at", at)
        with master() as m:
            m.wait_ready()
            t.expect(rf"\[{m.pid}\]: running", at)
            t.type("q")
            equal(t.wait(), 0, "exit status")
            expect_restored(t)


def test_reload_interrupted():
    """To interrupt preforkctl ends the waiting only"""
    with master(config(min_uptime="1s")) as m:
        m.wait_ready()
        with Terminal("-s", socket_path(), "reload") as t:
            t.expect("starting")
            t.type("\x03")
            check(os.WIFSIGNALED(t.wait()), "it ended by the signal")
        m.wait_log(r"reload complete", timeout=60)
        equal({row["GEN"] for row in rows().values()}, {"2"}, "generation")

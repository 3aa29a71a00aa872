"""What workers write to stdout and stderr, captured: whole lines, whoever writes and whoever reads."""
import collections
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import proc
from harness import (QUICK, RELOAD_FAILED, Master, check, diag, equal, folder, matches,
                     need_root, pool, sleeper, source, timeout, wait_until)

WRITER = source("writer.py")
TAG = re.compile(rb"\[(\w+)\.(\d+) (\d+)\] ")


def writer(*args):
    return [sys.executable, "-u", WRITER, *map(str, args)]


def shell(script):
    return ["/bin/sh", "-c", script]


class Captured(Master):
    """A master with stdout in a pipe that is read all the time, or from read_on() on. Workers are
    ready at once, or never."""

    def __init__(self, *args, reading=True, ready=True, **more):
        super().__init__("--ready", "delay" if ready else "notify", "--ready-delay", "1ms",
                         "--min-uptime", "1ms", "--stop-timeout", "2s", *args, **more)
        self.reading = reading
        self.out = b""

    def start(self):
        self.pipe, theirs = os.pipe()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.args, env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=theirs, stderr=log, **self.popen)
        os.close(theirs)
        if self.reading:
            self.read_on()
        return self

    def read_on(self):
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        parts = []
        while part := os.read(self.pipe, 1 << 20):
            parts.append(part)
            self.out += part
        os.close(self.pipe)

    def lines(self):
        """What has come, without a line that has not ended."""
        return self.out[:self.out.rfind(b"\n") + 1].split(b"\n")[:-1]

    def all_lines(self):
        """Everything, once the master has ended."""
        self.thread.join()
        check(self.out.endswith(b"\n") or not self.out, "the last line has no end")
        return self.lines()


def split_tag(line):
    found = TAG.match(line)
    check(found, f"a line without a tag: {line[:200]!r}")
    return found.group(1).decode(), int(found.group(2)), int(found.group(3)), line[found.end():]


def test_tag():
    """output = tag: lines of stdout and stderr come out where the master's do, with pool, slot, pid"""
    script = "echo \"to stdout $PREFORK_SLOT\"; echo to stderr >&2; printf 'no end'; exec sleep 1000"
    with Captured("-w", "2", "--output", "tag", "--", *shell(script)) as m:
        wait_until(lambda: len(m.lines()) == 2 and m.log().count("to stderr") == 2, "output")
        pids = [m.in_slot(slot) for slot in (0, 1)]
        m.stop()
        lines = m.all_lines()
    for slot, pid in enumerate(pids):
        tag = f"[main.{slot} {pid}] "
        check(f"{tag}to stdout {slot}".encode() in lines, f"stdout of slot {slot} in {lines}")
        check(f"{tag}no end".encode() in lines, f"the last line of slot {slot} in {lines}")
        check(f"{tag}to stderr\n" in m.log(), f"stderr of slot {slot}")


def test_json():
    """output = json: an object a line; what a worker writes stays text, however odd"""
    script = r"""printf '{"level":"info"}\n\tq"\\ \033[31m \377\n'; echo err >&2; exec sleep 1000"""
    with Captured("-w", "1", "--output", "json", "--", *shell(script)) as m:
        wait_until(lambda: len(m.lines()) == 2 and '"err"' in m.log(), "output")
        pid = m.in_slot(0)
        m.stop()
        lines = [json.loads(line) for line in m.all_lines()]
    for line in lines:
        matches(line.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "time")
    wanted = {"pool": "main", "slot": 0, "pid": pid, "generation": 1, "stream": "stdout"}
    equal(lines, [{**wanted, "message": '{"level":"info"}'},
                  {**wanted, "message": '\tq"\\ \x1b[31m \ufffd'}], "objects")
    err = [json.loads(line) for line in m.log().splitlines() if line.startswith("{")]
    equal([(line["stream"], line["message"]) for line in err], [("stderr", "err")], "stderr")


def test_inherit():
    """output = inherit, the default: not a byte is changed, and no pipe is in between"""
    with Captured("-w", "1", "--", *shell(r"printf 'a\033b\n'; exec sleep 1000")) as m:
        wait_until(m.lines, "output")
        equal(os.stat(f"/proc/{m.in_slot(0)}/fd/1").st_ino, os.fstat(m.pipe).st_ino, "stdout")
        m.stop()
        equal(m.all_lines(), [b"a\033b"], "output")


def expect_numbered(lines, writers, count):
    """Every line of every writer once, whole and in order."""
    seen = collections.Counter()
    for line in lines:
        who, number, rest = line.split(b" ", 2)
        equal(int(number), seen[who], f"number of the next line of {who}")
        equal(rest, b"x" * (int(number) * 31 % 300), f"line {number} of {who}")
        seen[who] += 1
    equal(sorted(seen.values()), [count] * writers, "lines of each writer")


@timeout(180)
def test_nothing_torn():
    """4 workers with 8 writers each, long and short lines, in pieces: none torn, none lost"""
    workers, forks, count = 4, 8, 500 if QUICK else 5000
    with Captured("-w", str(workers), "--output", "tag", "--",
                  *writer("numbered", forks, count)) as m:
        wait_until(lambda: m.out.count(b"] done") == workers, "all lines", timeout=150)
        m.stop()
        lines = [split_tag(line) for line in m.all_lines()]
    texts = [text for *_, text in lines if text != b"done"]
    expect_numbered(texts, workers * forks, count)
    diag(f"{len(texts)} lines of {workers * forks} writers, none torn and none lost")


def test_odd_lines():
    """A line of 1 MB comes in marked pieces; binary garbage and NUL bytes harm nothing"""
    with Captured("-w", "1", "--output", "tag", "--", *writer("odd")) as m:
        wait_until(lambda: b"] done" in m.out, "all lines")
        m.stop()
        texts = [split_tag(line)[3] for line in m.all_lines()]
    end = next(i for i, text in enumerate(texts) if not text.endswith(b"\\"))
    check(end > 16, f"{end} pieces")
    long = b"".join(text.rstrip(b"\\") for text in texts[:end + 1])
    equal((len(long), set(long)), (1 << 20, set(b"y")), "the long line")
    for text in texts:
        check(not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", text), f"a control character in {text!r}")
        text.decode()
    check(b"a\\x00b" in texts, "a line with a NUL byte")


def test_reader_that_does_not_read():
    """Nobody reads: workers wait, the master does not, and in the end every line is there"""
    count = 3000
    with Captured("-w", "2", "--output", "tag", "--",
                  *writer("numbered", 2, count), reading=False) as m:
        def stuck():
            before = [proc.cpu_seconds(pid) for pid in (m.pid, *m.workers())]
            time.sleep(0.3)
            return len(before) == 3 and before == [proc.cpu_seconds(pid)
                                                   for pid in (m.pid, *m.workers())]
        wait_until(lambda: "all workers are ready" in m.log() and stuck(), "everybody waits")
        equal(m.health("/healthz/liveness").status, 200, "liveness")
        m.read_on()
        wait_until(lambda: m.out.count(b"] done") == 2, "all lines")
        m.stop()
        texts = [split_tag(line)[3] for line in m.all_lines()]
        expect_numbered([text for text in texts if text != b"done"], 4, count)
        check("is lost" not in m.log(), "something was lost")


def test_drop():
    """output-overflow = drop: workers never wait, what is lost is told, what comes is whole"""
    count = 20000
    done = os.path.join(folder(), "done")
    with Captured("-w", "1", "--output", "json", "--output-overflow", "drop", "--",
                  *writer("numbered", 1, count, done), reading=False) as m:
        wait_until(lambda: os.path.exists(done), "the worker wrote everything", timeout=60)
        m.wait_log(r"output of workers is lost.*; \d+ lines so far")
        m.read_on()
        m.stop()
        lines = [json.loads(line)["message"].split() for line in m.all_lines()]
    numbers = [int(line[1]) for line in lines if line[0] != "done"]
    equal(numbers, sorted(set(numbers)), "numbers of the lines")
    check(0 < len(numbers) < count, f"{len(numbers)} of {count} lines")


def test_reader_goes_away():
    """A reader that goes away: workers write on, the master lives and tells"""
    with Captured("-w", "1", "--output", "tag", "--",
                  *shell("while echo line; do sleep 0.01; done"), reading=False) as m:
        wait_until(lambda: m.table(), "the worker")
        old = m.in_slot(0)
        os.close(m.pipe)
        m.wait_log("output of workers is lost")
        equal(m.in_slot(0), old, "the worker")


def test_last_words():
    """What a worker writes right before it dies comes out, and is told when its start fails"""
    # fewer than are kept: which of two pipes is read first is not known
    script = "for i in $(seq 10); do echo word $i; done; echo 'why: \033[31m' >&2; exit 3"
    with Captured("-w", "1", "--output", "tag", "--backoff", "1h", "--backoff-max", "1h", "--",
                  *shell(script), ready=False) as m:
        m.wait_log("failed start number 1")
        m.stop()
        equal(len(m.all_lines()), 10, "lines")
        told = re.findall(r"its last output: (.*)", m.log())
        equal(len(told), 11, "lines in the log")
        check(r"why: \x1b[31m" in told and "word 10" in told, f"the last lines in {told}")


def test_failures_of_many():
    """The last lines of failing workers are told once in a while, not for each"""
    with Captured("-w", "4", "--output", "tag", "--breaker-failures", "0", "--backoff",
                  "1ms", "--backoff-max", "1ms", "-v", "--", *shell("echo why; exit 3"),
                  ready=False) as m:
        wait_until(lambda: m.log().count("failed start") > 40, "failures")
        m.stop()
        told = m.log().count("its last output: why")
        check(1 <= told <= 1 + m.log().count("failed start") // 20, f"told {told} times")


def test_failed_reload():
    """A reload to a version that fails tells what it wrote, and that of a late one"""
    config = pool(command=sleeper(), workers=2, output="tag", ready="delay", ready_delay="1ms",
                  min_uptime="1ms")
    with Master(config=config) as m:
        m.wait_ready()
        for bad, ready in (("echo no database; exit 1", "delay"), ("echo waiting; sleep 1000", "notify")):
            m.write_config(pool(command=shell(bad), workers=2, output="tag", start_timeout="1500ms",
                                ready=ready, ready_delay="1s", min_uptime="1s"))
            start = m.mark()
            m.reload(RELOAD_FAILED)
            matches(m.log()[start:], rf"its last output: {bad.split(';', maxsplit=1)[0][5:]}", "log")


def test_descriptors():
    """Pipes are in the master and their own worker only, and go with the worker"""
    with Captured("-w", "3", "--output", "tag", "--", *sleeper()) as m:
        m.wait_log("all workers are ready")
        before = len(os.listdir(f"/proc/{m.pid}/fd"))
        ends = {}
        for slot in range(3):
            pid = m.in_slot(slot)
            fds = sorted(os.listdir(f"/proc/{pid}/fd"), key=int)
            equal(fds, ["0", "1", "2"], f"descriptors of slot {slot}")
            ends[slot] = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (1, 2)}
        equal(len(set.union(*ends.values())), 6, "pipes")
        for slot in range(3):
            os.kill(m.in_slot(slot), signal.SIGKILL)
            wait_until(lambda: m.log().count("ready after") == 4 + slot, "a new worker")
        wait_until(lambda: len(os.listdir(f"/proc/{m.pid}/fd")) == before, "descriptors go")


def test_left_behind():
    """A process that a worker leaves behind is read from for a while and then not any more"""
    script = "setsid sh -c 'echo left; sleep 0.5; echo late; exec sleep 1000' & sleep 0.2; exit 1"
    with Captured("-w", "1", "--output", "tag", "--backoff", "1h", "--backoff-max", "1h", "--",
                  *shell(script), ready=False) as m:
        m.wait_log("failed start number 1")
        wait_until(lambda: b"late" in m.out, "the late word")
        pipes = [fd for fd in os.listdir(f"/proc/{m.pid}/fd")]
        wait_until(lambda: len(os.listdir(f"/proc/{m.pid}/fd")) <= len(pipes) - 2,
                   "the pipes are closed")
        m.stop()


def test_open_again():
    """A worker of another user may open /dev/stdout and /dev/stderr"""
    need_root()
    script = "echo again >/dev/stdout; echo again >/dev/stderr; exec sleep 1000"
    with Captured("-w", "1", "--output", "tag", "--user", "nobody", "--", *shell(script)) as m:
        wait_until(lambda: b"] again" in m.out and "] again" in m.log(), "both lines")


def test_reload_changes_mode():
    """A reload changes output for new workers"""
    config = "command = sh -c 'echo mode; exec sleep 1000'\nworkers = 1\nready = delay\n" \
             "ready-delay = 1ms\nmin-uptime = 1ms\n"
    with Captured(config="[pool:web]\noutput = tag\n" + config) as m:
        wait_until(lambda: b"] mode" in m.out, "a tagged line")
        m.write_config("[pool:web]\noutput = json\n" + config)
        m.reload()
        wait_until(lambda: b'"message":"mode"' in m.out, "an object")
        m.write_config("[pool:web]\noutput = inherit\n" + config)
        m.reload()
        wait_until(lambda: b"mode" in m.lines(), "a plain line")


def test_same_file():
    """stdout and stderr the same pipe, with the log: lines of all three stay whole"""
    ours, theirs = os.pipe()
    text = b""
    master = Master("-w", "2", "--output", "tag", "--ready", "delay", "--ready-delay", "1ms", "-v",
                    "--backoff", "1ms", "--backoff-max", "5ms", "--",
                    *writer("mixed", 500), stderr=theirs)
    with open(master.log_path, "ab"):
        master.process = subprocess.Popen(master.args, env=master.env, stdin=subprocess.DEVNULL,
                                          stdout=theirs, stderr=theirs)
    os.close(theirs)
    while text.count(b"] done") < 6:
        text += os.read(ours, 65536)
        time.sleep(0.001)
    master.send(signal.SIGTERM)
    while part := os.read(ours, 65536):
        text += part
    master.wait()
    os.close(ours)
    for line in text.splitlines():
        check(re.fullmatch(rb"\[main\.[01] \d+\] (x{1000}|y{900}|done)"
                           rb"|\d{4}-\S+Z (error|warn |info |debug) .*", line), f"torn: {line!r}")

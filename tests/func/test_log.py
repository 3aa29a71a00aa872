"""The log: formats, files, and readers that do not read."""
import array
import fcntl
import json
import os
import re
import signal
import subprocess
import termios

from harness import (PREFORKD, Master, check, equal, folder, matches, pool, read_until,
                     server, sleeper, wait_until)

LINE = (r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn |info |debug) "
        r"(\w+\.\d+(\[\d+\])?: )?\S.*$")


def test_text():
    """Text: every line has time, level, and pool, slot and pid of what it is about"""
    with Master("-w", "2", "--log-format", "text", "-l", "127.0.0.1:0", "--", *sleeper()) as m:
        m.wait_ready()
        m.stop()
        for line in m.log().splitlines():
            matches(line, LINE, "line")
        for slot in (0, 1):
            matches(m.log(), rf"main\.{slot}\[\d+\]: ready", "log")


def test_json():
    """JSON: every line parses and has time, level, message, and pool, slot and pid of a worker"""
    with Master("-w", "2", "--log-format", "json", "--", *sleeper()) as m:
        wait_until(lambda: m.log().count("ready after") == 2, "both workers")
        m.stop()
        lines = [json.loads(line) for line in m.log().splitlines()]
        for line in lines:
            check({"time", "level", "message"} <= set(line), f"keys of {line}")
        ready = [line for line in lines if "ready after" in line["message"]]
        equal(sorted((line["pool"], line["slot"]) for line in ready), [("main", 0), ("main", 1)],
              "workers")


def test_level():
    """log-level, -v and -q choose what is told"""
    for args, debug, info in (((), False, True), (("-v",), True, True), (("-q",), False, False),
                              (("--log-level", "error"), False, False)):
        with Master("-w", "1", *args, "--", *sleeper()) as m:
            wait_until(lambda: len(m.workers()) == 1 and m.table(), "the worker")
            wait_until(lambda: not info or "ready after" in m.log(), "the log")
            m.stop()
            equal((" debug " in m.log(), " info " in m.log()), (debug, info), f"levels with {args}")


def test_file_and_reopen():
    """log-file with USR1 after it was renamed: the next line is in the new file"""
    path = os.path.join(folder(), "preforkd.log")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--log-file", path, "--",
                *server()) as m:
        def text(name=path):
            if not os.path.exists(name):
                return ""
            with open(name, encoding="utf-8") as file:
                return file.read()
        wait_until(lambda: "ready after" in text(), "a line in the file")
        equal(m.log(), "", "stderr")
        os.rename(path, path + ".1")
        m.send(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(path), "the new file")
        old = text(path + ".1")
        os.kill(m.workers()[0], signal.SIGKILL)
        wait_until(lambda: "killed by KILL" in text(), "a line in the new file")
        check("killed by KILL" not in text(path + ".1") and old, "the old file grows on")


def test_file_cannot_be_opened():
    """A log-file that cannot be opened is status 1 or 2 and says so"""
    status, text = Master("-w", "1", "--log-file", "/nonexistent/log", "--", *sleeper()).run()
    check(status in (1, 2), f"exit status {status}")
    matches(text, r"/nonexistent/log.*No such file", "reason")


def test_journal():
    """When the journal reads stderr, lines have a priority and no time"""
    path = os.path.join(folder(), "stream")
    with open(path, "wb") as stream:
        info = os.fstat(stream.fileno())
        with Master("-w", "1", "--health", "off", "--", *sleeper(), health=None, stderr=stream,
                    env={"JOURNAL_STREAM": f"{info.st_dev}:{info.st_ino}"}):
            def lines():
                with open(path, encoding="utf-8") as file:
                    return file.read().splitlines()
            wait_until(lambda: any("ready after" in line for line in lines()), "the log")
        for line in lines():
            matches(line, r"^<[3-7]>\S", "line for the journal")


def test_full_pipe():
    """A stderr pipe that nobody reads does not stop the master; losses are told when it is read"""
    ours, theirs = os.pipe()
    with Master("-w", "2", "-l", "127.0.0.1:0", "--health", "off", "--backoff", "1ms",
                "--backoff-max", "1ms", "--breaker-failures", "0", "-v", "--ready", "notify", "--",
                "/bin/sh", "-c", "exec 2>/dev/null; exit 1",
                health=None, stderr=theirs) as m:
        os.close(theirs)
        wait_until(lambda: pipe_is_full(ours), "a full pipe", timeout=60)
        seen = set()
        # What each start logs does not fit any more by then.
        wait_until(lambda: seen.update(m.workers()) or len(seen) >= 50, "more starts")
        check(m.process.poll() is None, "the master died")
        text = read_until(ours, r"\d+ log lines were lost")
        for line in text.splitlines()[:-1]:
            matches(line, LINE, "line")
        os.close(ours)  # from now on each write is EPIPE
        equal(m.stop(), 0, "exit status")


def pipe_is_full(fd):
    size = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, size)
    return size[0] > 60000


def test_closed_reader():
    """A reader of stderr that goes away does no harm"""
    ours, theirs = os.pipe()
    with Master("-w", "1", "--min-uptime", "10ms", "--backoff", "5ms", "--backoff-max", "10ms",
                "--health", "off", "--", *sleeper(), health=None, stderr=theirs) as m:
        os.close(theirs)
        wait_until(lambda: m.table(), "the worker")
        os.close(ours)
        old = m.in_slot(0)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: m.in_slot(0) != old, "a replacement")


def test_injection():
    """Control characters from a command or its path cannot forge lines"""
    status, text = Master("-w", "1", "--", "/nonexistent/a\nb\033[31m").run()
    equal(status, 127, "exit status")
    check("\033" not in text, "an escape sequence in the log")
    check(not re.search(r"^b", text, re.MULTILINE), "a forged line")


def test_output_of_workers():
    """What workers write to stdout and stderr comes out where the master's does"""
    command = ["/bin/sh", "-c", "echo to-stdout; echo to-stderr >&2; exec sleep 1000"]
    with Master("-w", "1", "--ready", "delay", "--ready-delay", "10ms", "--", *command) as m:
        m.wait_ready()
        check("to-stdout" in m.log() and "to-stderr" in m.log(), "output of the worker")


def test_reload_changes_format():
    """A reload changes format and level at once"""
    config = pool(command=sleeper(), workers=1, min_uptime="10ms")
    with Master(config=config) as m:
        m.wait_ready()
        m.write_config(config + "[preforkd]\nlog-format = json\nlog-level = debug\n")
        m.reload()
        start = m.mark()
        m.reload()
        for line in m.log()[start:].splitlines():
            json.loads(line)


def test_help_goes_to_stdout():
    """--help writes to stdout, so that it can be piped; errors go to stderr"""
    done = subprocess.run([PREFORKD, "--help"], capture_output=True, text=True, check=False)
    equal((done.returncode, done.stderr), (0, ""), "status and stderr")
    check("--listen" in done.stdout, "help on stdout")
    done = subprocess.run([PREFORKD, "--nonsense"], capture_output=True, text=True, check=False)
    equal((done.returncode, done.stdout), (2, ""), "status and stdout")
    check("nonsense" in done.stderr, "error on stderr")

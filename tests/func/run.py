#!/usr/bin/env python3
"""Runs the end-to-end tests and prints TAP: run.py [PATTERN]...

PATTERN selects tests whose "file:function" it occurs in. PREFORKD names the binary, BUILD the build
folder, QUICK=1 makes the long storms short. With AGAIN=1 a test that failed gets a second try, for
machines whose other work one does not know; it is told which needed one. Each test runs in a process of its own; what it leaves
running is a failure and is ended."""
import glob
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import ctypes  # noqa: E402

import harness  # noqa: E402
import proc  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36
TIMEOUT = 60  # seconds for a test, unless it says otherwise
GRACE = 10    # more for its end
LEFT_S = 3    # until processes that were told to end must be gone


def discover(patterns):
    """[(name, function)] in the order of the files."""
    found = []
    for path in sorted(glob.glob(os.path.join(os.path.dirname(__file__) or ".", "test_*.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                found.append((f"{module.__name__[5:]}:{name[5:]}", function))
    return [(name, function) for name, function in found
            if not patterns or any(pattern in name for pattern in patterns)]


def on_alarm(_signo, _frame):
    raise harness.Failure("the test took too long")


def perform(function):
    """Runs one test in this process: {"outcome": ..., "reason": ...}"""
    outcome, reason = "ok", ""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(getattr(function, "timeout", TIMEOUT))
    try:
        function()
    except harness.Skip as why:
        outcome, reason = "skip", str(why)
    except BaseException as why:  # also SystemExit: a test must not end the run unseen
        outcome, reason = "failed", f"{type(why).__name__}: {why}"
        traceback.print_exc(file=sys.stdout)
    signal.alarm(0)
    try:
        harness.finish(outcome == "failed")
    except Exception as why:
        outcome, reason = "failed", str(why)
    return {"outcome": outcome, "reason": reason}


def run_child(function, output, result_path):
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8", errors="replace")
    result = perform(function)
    sys.stdout.flush()
    with open(result_path, "w", encoding="utf-8") as file:
        json.dump(result, file)
    os._exit(0)


def wait_child(pid, seconds):
    """Whether it ended by itself in time; strangers that end meanwhile are reaped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        gone, _ = os.waitpid(pid, os.WNOHANG)
        if gone == pid:
            return True
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def reap():
    """Reaps what has ended and returns what runs of our descendants."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return []
    return [pid for pid in proc.descendants(os.getpid()) if proc.alive(pid)]


def end_leftovers():
    """Waits for the test's processes to end, ends what stays and describes it."""
    end = time.monotonic() + LEFT_S
    while (left := reap()) and time.monotonic() < end:
        time.sleep(0.01)
    described = [f"{pid} ({(proc.stat(pid) or ('gone',))[0]})" for pid in left]
    while left:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
        left = reap()
    return described


def run_test(function):
    """(result, lines that it printed)"""
    with (tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as result_file,
          tempfile.TemporaryDirectory(prefix="preforkd-test-") as folder):
        os.chmod(folder, 0o755)
        pid = os.fork()
        if pid == 0:
            harness.use_folder(folder)
            run_child(function, output, result_file.name)
        in_time = wait_child(pid, getattr(function, "timeout", TIMEOUT) + GRACE)
        text = result_file.read()
        result = json.loads(text) if text else {
            "outcome": "failed",
            "reason": "it died" if in_time else "it hung and was ended"}
        left = end_leftovers()
        if left and result["outcome"] != "failed":
            result = {"outcome": "failed", "reason": f"processes left: {', '.join(left)}"}
        output.seek(0)
        return result, output.read().decode(errors="replace").splitlines()


def report(number, name, function, result, lines, seconds):
    text = f"{name}: {(function.__doc__ or '').splitlines()[0].rstrip('.')}".replace("#", "")
    outcome = result["outcome"]
    suffix = f" # SKIP {result['reason']}" if outcome == "skip" else ""
    print(f"{'not ok' if outcome == 'failed' else 'ok'} {number} - {text}{suffix}")
    for line in lines:
        print(f"# {line}")
    if outcome == "failed":
        print(f"# FAILED: {result['reason']}")
    print(f"# took {seconds:.1f} s", flush=True)


def become_subreaper():
    """What a test orphans becomes a child of this process."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("Bail out! cannot become a subreaper")


def main():
    become_subreaper()
    if not os.access(harness.PREFORKD, os.X_OK):
        sys.exit(f"Bail out! no binary at {harness.PREFORKD}")
    tests = discover(sys.argv[1:])
    failed, again = [], []
    print(f"1..{len(tests)}", flush=True)
    for number, (name, function) in enumerate(tests, 1):
        began = time.monotonic()
        result, lines = run_test(function)
        if result["outcome"] == "failed" and os.environ.get("AGAIN"):
            again.append(name)
            first = [*lines, f"first try FAILED: {result['reason']}"]
            result, lines = run_test(function)
            lines = first + lines
        report(number, name, function, result, lines, time.monotonic() - began)
        if result["outcome"] == "failed":
            failed.append(name)
    if again:
        print(f"# {len(again)} of {len(tests)} needed a second try: {' '.join(again)}")
    if failed:
        print(f"# {len(failed)} of {len(tests)} failed: {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

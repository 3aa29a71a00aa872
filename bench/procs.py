"""Processes that the bench started: found by descent or by a mark in their environment, measured by
/proc, and ended; nobody else is ever signalled."""
import ctypes
import os
import signal
import time

PR_SET_CHILD_SUBREAPER = 36
MARK = "BENCH_PEER"
tools = set()  # process ids of load generators and other helpers: no part of a peer


def become_subreaper():
    """Whatever is orphaned below this process becomes its child instead of getting lost."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


class Process:
    def __init__(self, pid, parent, name, state):
        self.pid, self.parent, self.name, self.state = pid, parent, name, state

    def command(self):
        return read(f"/proc/{self.pid}/cmdline").replace("\0", " ").strip()


def everyone():
    found = {}
    for entry in os.listdir("/proc"):
        text = read(f"/proc/{entry}/stat") if entry.isdigit() else ""
        if text:
            name, rest = text[text.index("(") + 1:].rsplit(")", 1)
            state, parent = rest.split()[:2]
            found[int(entry)] = Process(int(entry), int(parent), name, state)
    return found


def below(roots, table):
    """What runs below some processes, without the tools."""
    children = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found, todo = [], list(roots)
    while todo:
        for process in children.get(todo.pop(), ()):
            if process.pid not in tools:
                todo.append(process.pid)
                found.append(process)
    return [process for process in found if process.state not in "ZX"]


def of_peer(root, mark):
    """The process `root` and what belongs to it: also daemons that left it, known by their mark."""
    table = everyone()
    marked = [process.pid for process in below([os.getpid()], table)
              if process.parent == os.getpid() and process.pid != root
              and f"{MARK}={mark}" in read(f"/proc/{process.pid}/environ").split("\0")]
    found = below([root, *marked], table)
    return found + [table[pid] for pid in (root, *marked)
                    if pid in table and table[pid].state not in "ZX"]


def alive(pid):
    text = read(f"/proc/{pid}/stat")
    return bool(text) and text.rsplit(")", 1)[1].split()[0] not in "ZX"


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def end(find, seconds=8):
    """Ends the processes that find() returns, first politely; what is left of them."""
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        limit = time.monotonic() + seconds
        for process in find():
            send(process.pid, number)
        while find() and time.monotonic() < limit:
            reap()
            time.sleep(0.05)
    return find()


def reap():
    """Collects adopted orphans that ended. Helpers and peers are waited for by their starters."""
    for process in everyone().values():
        if process.parent == os.getpid() and process.state == "Z" and process.pid not in tools:
            try:
                os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                pass


def usage(pids):
    """Of all of them together: pss_kb, own_kb (shared with nobody), cpu_ms, switches."""
    sums = {"pss_kb": 0, "own_kb": 0, "cpu_ms": 0.0, "switches": 0}
    keys = {"Pss": "pss_kb", "Private_Clean": "own_kb", "Private_Dirty": "own_kb"}
    for pid in pids:
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            name, _, rest = line.partition(":")
            if name in keys:
                sums[keys[name]] += int(rest.split()[0])
        for task in os.listdir(f"/proc/{pid}/task"):
            sums["cpu_ms"] += int((read(f"/proc/{pid}/task/{task}/schedstat").split() or [0])[0]) / 1e6
            for line in read(f"/proc/{pid}/task/{task}/status").splitlines():
                if "ctxt_switches:" in line:
                    sums["switches"] += int(line.split()[1])
    return sums

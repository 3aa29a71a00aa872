"""What /proc tells about processes and sockets."""
import os
import resource


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def status(pid):
    """The fields of /proc/PID/status, as text."""
    lines = _read(f"/proc/{pid}/status").decode().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def stat(pid):
    """(name, state, parent, process group, session), or None when it is gone."""
    try:
        text = _read(f"/proc/{pid}/stat").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, rest = text[text.index("(") + 1:].rsplit(")", 1)
    fields = rest.split()
    return name, fields[0], int(fields[1]), int(fields[2]), int(fields[3])


def alive(pid):
    """Whether it still runs: a zombie does not."""
    found = stat(pid)
    return found is not None and found[1] not in "ZX"


def catches(pid, number):
    """Whether it has a handler for the signal."""
    return int(status(pid)["SigCgt"], 16) >> (number - 1) & 1 == 1


def everyone():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(pid):
    """Process ids of the children that run, oldest first."""
    try:
        found = _read(f"/proc/{pid}/task/{pid}/children").split()
    except (FileNotFoundError, ProcessLookupError):
        found = []
    return [int(child) for child in found if alive(int(child))]


def descendants(pid):
    """All that descend from it, without itself; also zombies."""
    parents = {other: stat(other) for other in everyone()}
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        for other, info in parents.items():
            if info is not None and info[2] == parent:
                found.append(other)
                todo.append(other)
    return found


def environ(pid):
    """The environment that it was started with."""
    try:
        items = _read(f"/proc/{pid}/environ").decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    return dict(item.split("=", 1) for item in items if "=" in item)


def command(pid):
    """Its argument list."""
    try:
        return _read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def fds(pid):
    """{descriptor: what it is open on}"""
    folder, found = f"/proc/{pid}/fd", {}
    for name in os.listdir(folder):
        try:
            found[int(name)] = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            pass
    return found


def switches(pid):
    """How often it was put on a CPU so far."""
    fields = status(pid)
    return int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])


def rss_kb(pid):
    return int(status(pid)["VmRSS"].split()[0])


def cpu_seconds(pid):
    fields = _read(f"/proc/{pid}/stat").decode().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limit(pid, which):
    """(soft, hard) of a resource limit such as resource.RLIMIT_NOFILE."""
    return resource.prlimit(pid, which)


def listeners(port):
    """How many sockets listen on the TCP port, whatever their address."""
    return len(listening_rows(port))


def listening_rows(port):
    """The rows of /proc/net/tcp and tcp6, as lists of words, of sockets that listen on the port."""
    rows = []
    for name in ("tcp", "tcp6"):
        try:
            lines = _read(f"/proc/net/{name}").decode().splitlines()[1:]
        except FileNotFoundError:
            continue
        for row in (line.split() for line in lines):
            if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port:
                rows.append(row)
    return rows


def queue(port):
    """Connections that wait to be accepted on the TCP port, in all sockets together."""
    return sum(int(row[4].split(":")[1], 16) for row in listening_rows(port))


def status_uid(pid):
    """Its real user, -1 when it is gone."""
    try:
        return int(status(pid)["Uid"].split()[0])
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return -1

"""What the end-to-end tests are made of: a master that is started and watched, conditions with
deadlines, a kubelet, a service manager and a load generator.

A test is a function test_* with one line of description. It fails by an exception (check() and
equal() raise one), is skipped by skip() or a need_*(), and tells figures by diag()."""
import collections
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import proc

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PREFORKD = os.path.abspath(os.environ.get("PREFORKD") or next(
    (path for path in (f"{TOP}/build/preforkd", f"{TOP}/preforkd") if os.path.exists(path)),
    f"{TOP}/build/preforkd"))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.dirname(PREFORKD))
QUICK = bool(os.environ.get("QUICK"))  # shorter storms, for a build with sanitizers
SANITIZERS = "ASAN_OPTIONS" in os.environ  # they keep memory that was freed
DEADLINE = 20  # seconds that a condition may take on a busy machine
NOBODY = 65534
ROOT = os.geteuid() == 0

# What the master says, in the one place where the tests know it.
RELOAD_DONE = r"reload complete after \d+ ms: generation (\d+)"
RELOAD_FAILED = r"reload failed: .*"


class Skip(Exception):
    """The machine lacks something; the text says what."""


class Failure(AssertionError):
    """The product did not do what it must."""


def skip(reason):
    raise Skip(reason)


def need_root():
    if not ROOT:
        skip("needs root")


def need_other_user():
    """Root, and programs of this build that another user may run."""
    need_root()
    for path in (TOP, BUILD):
        while path != "/" and os.stat(path).st_mode & 0o001:
            path = os.path.dirname(path)
        if path != "/":
            skip(f"other users may not enter {path}, so that they cannot run what is tested")


def need_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        skip("no IPv6 here")


def need_program(name):
    """Its path. The tests' own Python must not stand in for the system's."""
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    return path or skip(f"no {name} here")


def diag(text):
    """One line about the test, shown whether it succeeds or not."""
    print(text, flush=True)


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def matches(text, pattern, what):
    found = re.search(pattern, text, re.MULTILINE)
    check(found, f"{what}: {pattern!r} is not in {text!r}")
    return found


def wait_until(condition, what, timeout=DEADLINE):
    """Waits until condition() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f"waited {timeout} s in vain: {what}")
        time.sleep(0.01)


def stays(condition, seconds, what):
    """Holds for the whole time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check(condition(), what)
        time.sleep(0.01)


def timeout(seconds):
    """Decorator: how long a test may take, when that is not the default."""
    def mark(test):
        test.timeout = seconds
        return test
    return mark


# ---- the folder of a test, and its end ----

_folder = ""
_masters = []
_managers = []


def use_folder(path):
    """Called by the runner before each test."""
    global _folder
    _folder = path


def folder():
    """A folder for this test alone, which everyone may enter."""
    return _folder


def write(name, text, mode=0o644):
    """Writes a file in the test's folder, at once, and returns its path."""
    path = os.path.join(folder(), name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)
    return path


def finish(failed):
    """Called by the runner after each test: shows the logs of a failure and checks that nothing is
    left. It looks for processes itself."""
    left = []
    for manager in _managers:
        manager.forget()
    for master in _masters:
        left += master.finish()
        if failed and master.process is not None:
            master.show_log()
    left += [f"file {name}" for name in os.listdir(folder()) if name.endswith((".pid", ".sock"))]
    if not failed:
        check(not left, f"left behind: {', '.join(left)}")


def can_bind(port, reuse=False):
    """Whether nobody has a socket on the TCP port, also none that does not listen. With `reuse`
    what is left of connections does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- workers ----

def helper(name):
    """The path of a helper program of this build."""
    path = f"{BUILD}/tests/{name}"
    check(os.path.exists(path), f"{path} is not built")
    return path


def server(*options):
    """The command of the test server, which says READY=1 unless told otherwise."""
    return [helper("workers/server"), "--notify", *options]


def quiet_server(*options):
    """The same without READY=1."""
    return [helper("workers/server"), *options]


def talker(*messages):
    """The command of a worker that sends these bytes to NOTIFY_SOCKET, then READY=1."""
    path = write("talker.py", f"""import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
p = os.environ["NOTIFY_SOCKET"]
s.connect("\\0" + p[1:] if p[0] == "@" else p)
for message in {[*messages, b"READY=1"]}:
    s.send(message)
time.sleep(1000)
""")
    return [sys.executable, path]


def sleeper():
    return [helper("workers/sleeper")]


def source(name):
    """A file of tests/workers."""
    return os.path.join(TOP, "tests", "workers", name)


def quoted(command):
    """A command for a configuration file."""
    return shlex.join(command)


def pool(name="main", command=None, **settings):
    """The text of a pool's section; a value that is a list stands for repeated keys."""
    lines = [f"[pool:{name}]", f"command = {quoted(command or server())}"]
    for key, value in settings.items():
        for item in value if isinstance(value, list) else [value]:
            lines.append(f"{key.replace('_', '-')} = {item}")
    return "\n".join(lines) + "\n"


# ---- clients ----

def connect(address, timeout=10):
    """A stream connection to "HOST:PORT", "[HOST]:PORT" or "unix:PATH"."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address[5:])  # waits while the queue is full
        sock.settimeout(timeout)
        return sock
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=timeout)


def read_all(sock):
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


Reply = collections.namedtuple("Reply", "status headers body")


def read_until(fd, pattern):
    """What a pipe or terminal gives until the pattern is in it."""
    text = ""
    os.set_blocking(fd, False)

    def found():
        nonlocal text
        try:
            text += os.read(fd, 65536).decode(errors="replace")
        except BlockingIOError:
            pass
        return re.search(pattern, text)
    wait_until(found, f"{pattern!r} in what is read")
    return text


def join_chunks(data):
    """The content of a body in chunks, which must be whole."""
    content = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        content += data[:length]
        equal(data[length:length + 2], b"\r\n", "end of a chunk")
        data = data[length + 2:]
        if length == 0:
            return content


def parse_reply(data):
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    if headers.get("transfer-encoding") == "chunked":
        body = join_chunks(body)
    return Reply(int(lines[0].split()[1]), headers, body.decode())


def ask(address, path="/", timeout=10):
    """The body of a worker's answer."""
    with connect(address, timeout) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        reply = parse_reply(read_all(sock))
    equal(reply.status, 200, f"answer to {path}")
    return reply.body


Who = collections.namedtuple("Who", "pid slot gen")


def parse_who(text):
    found = matches(text, r"^pid=(\d+) slot=(\d+) gen=(\d+)", "answer of a worker")
    return Who(*(int(number) for number in found.groups()))


def expect_queue_survives(m, port):
    """100 requests are queued at the only worker of `m`, which is killed: its successor answers
    them."""
    worker = m.in_slot(0)
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: proc.stat(worker)[1] == "T", "the worker is stopped")
    waiting = [connect(f"127.0.0.1:{port}", timeout=20) for _ in range(100)]
    for sock in waiting:
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    wait_until(lambda: proc.queue(port) == 100, "100 requests in the queue")
    os.kill(worker, signal.SIGKILL)
    answers = [parse_who(parse_reply(read_all(sock)).body) for sock in waiting]
    for sock in waiting:
        sock.close()
    equal({who.pid for who in answers}, {m.in_slot(0)}, "who answered")
    diag("100 of 100 queued requests answered by the successor")


class Hammer:
    """The load generator, from entering the block to result() or the block's end."""

    def __init__(self, address, **options):
        args = [f"--{key}={int(value)}" for key, value in options.items()]
        self.args = [helper("lib/hammer"), address, *args]
        self.process = None
        self._result = None

    def __enter__(self):
        self.process = subprocess.Popen(self.args, stdout=subprocess.PIPE, text=True)
        wait_until(lambda: proc.catches(self.process.pid, signal.SIGTERM), "the load generator")
        return self

    def result(self):
        """Ends the load and returns its figures. A request that waits is waited for."""
        if self._result is None:
            self.process.send_signal(signal.SIGTERM)
            self._result = json.loads(self.process.communicate(timeout=60)[0])
        return self._result

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            self.process.kill()
            self.process.communicate()

    def show(self):
        r = self.result()
        diag(f"load: {r['ok']} answered by {len(r['pids'])} workers in {r['seconds']:.1f} s, "
             f"{r['failed']} failed (refused {r['refused']}, reset {r['reset']}, eof {r['eof']}, "
             f"timeout {r['timeout']}, bad {r['bad']}, other {r['other']}), "
             f"p50 {r['p50_us'] / 1000:.1f} ms, p99 {r['p99_us'] / 1000:.1f} ms, "
             f"max {r['max_us'] / 1000:.1f} ms")
        return r

    def expect_clean(self, may_lose=0):
        r = self.show()
        check(r["ok"] > 0, "the load generator got no answer at all")
        check(r["failed"] <= may_lose,
              f"{r['failed']} failed requests, the first of them {r['failures']}")
        return r


class Systemd:
    """A service manager's end of sd_notify, with its descriptor store."""

    def __init__(self):
        self.path = os.path.join(folder(), "systemd")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.setblocking(False)
        self.messages = []  # each a dictionary, in the order of arrival
        self.store = {}     # name: descriptor
        _managers.append(self)

    def env(self, **more):
        return {"NOTIFY_SOCKET": self.path, **more}

    def poll(self):
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(self.socket, 65536, 8)
            except BlockingIOError:
                return self.messages
            pairs = [line.split("=", 1) for line in text.decode().splitlines()]
            self.messages.append({pair[0]: pair[-1] for pair in pairs})
            self.keep(self.messages[-1], fds)

    def keep(self, message, fds):
        name = message.get("FDNAME")
        if "FDSTOREREMOVE" in message and name in self.store:
            os.close(self.store.pop(name))
        if "FDSTORE" in message:
            equal((message.get("FDPOLL"), len(fds)), ("0", 1), "FDPOLL and descriptors")
            if name in self.store:
                check(os.path.sameopenfile(fds[0], self.store[name]), f"another {name} is stored")
                os.close(self.store[name])
            self.store[name] = fds[0]

    def forget(self):
        """Empties the store, as for a service that was stopped."""
        self.poll()
        while self.store:
            os.close(self.store.popitem()[1])

    def hand_over(self, *more):
        """The start of a service with what is stored and `more` pairs (name, descriptor): options
        of Master."""
        pairs = [*more, *self.store.items()]
        fds = [fd for _, fd in pairs]
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "activate.py")
        return {"wrapper": [sys.executable, path, ",".join(map(str, fds))], "pass_fds": fds,
                "env": self.env(FDSTORE="512", LISTEN_FDNAMES=":".join(name for name, _ in pairs))}

    def wait(self, key, value=".*", start=0, timeout=DEADLINE):
        """The index of the first message from `start` on with KEY=value (a pattern)."""
        def find():
            return [i for i, message in enumerate(self.poll())
                    if i >= start and re.fullmatch(value, message.get(key, "\0"))]
        return wait_until(find, f"{key}={value} for the service manager", timeout)[0]

    def keys(self, start=0):
        """The keys other than STATUS, in order, for a look at the sequence."""
        return [key for message in self.poll()[start:] for key in message if key != "STATUS"]


# ---- the master ----

class Master:
    """A preforkd. Arguments are those of its command line; `config` is the text of a file."""

    def __init__(self, *args, config=None, env=None, health="127.0.0.1:0", control="off",
                 wrapper=(), stderr=None, **popen):
        self.folder = folder()
        self.config_path = None
        if config is not None:
            self.write_config(config)
            args = ("--config", self.config_path, *args)
        if health is not None:
            args = ("--health", health, *args)
        self.control_path = control
        if control is not None:
            args = ("--control", control, *args)
        self.args = [*wrapper, PREFORKD, *args]
        self.env = {**os.environ, **(env or {})}
        self.log_path = os.path.join(self.folder, f"log{len(_masters)}")
        self.stderr = stderr
        self.popen = popen
        self.process = None
        self.ports = set()
        _masters.append(self)

    def write_config(self, text):
        name = f"conf{_masters.index(self) if self in _masters else len(_masters)}"
        self.config_path = write(name, text)

    # ---- its life

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.args, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log if self.stderr is None else self.stderr, **self.popen)
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            self.kill()
        elif self.process.poll() is None:
            equal(self.stop(), 0, "exit status")

    @property
    def pid(self):
        return self.process.pid

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=DEADLINE):
        """Its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"the master still runs after {timeout} s") from None

    def stop(self, number=signal.SIGTERM, timeout=DEADLINE):
        """Stops it and returns its exit status; when it ended, no worker may run any more."""
        workers = proc.descendants(self.pid)
        self.send(number)
        status = self.wait(timeout)
        left = [pid for pid in workers if proc.alive(pid)]
        check(not left, f"the master ended before its workers {left}")
        return status

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def run(self, timeout=DEADLINE):
        """For what ends by itself: (exit status, everything it said)."""
        self.start()
        status = self.wait(timeout)
        return status, self.log()

    def finish(self):
        """What is left of it in the end."""
        left = [] if self.process is None or self.process.poll() is not None else ["the master"]
        self.kill()
        return left + [f"port {port}" for port in sorted(self.ports) if not can_bind(port, reuse=True)]

    # ---- its log

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def show_log(self):
        lines = self.log().splitlines()
        diag(f"$ {' '.join(self.args)}")
        for line in lines if len(lines) <= 120 else [*lines[:60], "...", *lines[-60:]]:
            diag(f"  {line}")

    def mark(self):
        """The place in the log from which on wait_log() looks, when it is given to it."""
        return len(self.log())

    def wait_log(self, pattern, start=0, timeout=DEADLINE):
        return wait_until(lambda: re.search(pattern, self.log()[start:], re.MULTILINE),
                          f"{pattern!r} in the log", timeout)

    def count_log(self, pattern, start=0):
        return len(re.findall(pattern, self.log()[start:], re.MULTILINE))

    # ---- its addresses

    def addresses(self):
        """What it listens on, in the order of its log, with real ports."""
        found = re.findall(r"listening on (\S+)", self.log())
        self.ports.update(int(a.rsplit(":", 1)[1]) for a in found
                          if re.search(r":\d+$", a) and not a.startswith("udp:"))
        return found

    def address(self, number=0):
        """One of them, in the form that connect() takes."""
        found = wait_until(lambda: self.addresses()[number:], "the master listens")[0]
        return re.sub(r"^(\*:)?(\d+)$", r"127.0.0.1:\2", found)

    def port(self, number=0):
        return int(self.address(number).rsplit(":", 1)[1])

    def health_port(self):
        port = int(self.wait_log(r"health on \S+:(\d+)").group(1))
        self.ports.add(port)
        return port

    def health(self, path, method="GET", timeout=5):
        """Asks like a kubelet: a new connection, these headers and no more, no lingering."""
        port = self.health_port()
        with connect(f"127.0.0.1:{port}", timeout) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
            sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                         "User-Agent: kube-probe/1.30\r\nAccept: */*\r\n"
                         "Connection: close\r\n\r\n".encode())
            return parse_reply(read_all(sock))

    def control(self, path, method="POST", timeout=60):
        """Asks at the control socket."""
        with connect(f"unix:{self.control_path}", timeout) as sock:
            sock.sendall(f"{method} /v1/{path} HTTP/1.1\r\nHost: preforkd\r\n\r\n".encode())
            return parse_reply(read_all(sock))

    def order(self, path, result="ok", timeout=60):
        """Orders something at the control socket and waits for its result; the events, of which the
        last one is the result."""
        reply = self.control(path, timeout=timeout)
        equal(reply.status, 200, f"status of {path}: {reply.body}")
        events = [json.loads(line) for line in reply.body.splitlines()]
        equal(events[-1].get("result"), result, f"{path}: {events}")
        return events

    def status(self):
        return json.loads(self.control("status", "GET").body)

    def metrics(self):
        """{"name{labels}": value} of the metrics page."""
        lines = [line.rsplit(" ", 1) for line in self.health("/metrics").body.splitlines()
                 if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def is_ready(self):
        return self.health("/healthz/readiness").status == 200

    def wait_ready(self, timeout=DEADLINE):
        """Until every worker is up, not only as many as readiness asks for."""
        def up():
            check(self.process.poll() is None, "the master ended instead of becoming ready")
            return (re.search(r"health on ", self.log()) and
                    self.health("/healthz/startup").status == 200)
        wait_until(up, "start-up complete", timeout)
        return self

    # ---- its workers

    def workers(self):
        return proc.children(self.pid)

    def table(self, name="main"):
        """[Who] of the pool's workers by slot, read from their environments."""
        found = []
        for pid in self.workers():
            env = proc.environ(pid)
            if env.get("PREFORK_POOL") == name:
                found.append(Who(pid, int(env["PREFORK_SLOT"]), int(env["PREFORK_GENERATION"])))
        return sorted(found, key=lambda who: (who.slot, who.gen, who.pid))

    def in_slot(self, slot, name="main"):
        """The process id of the only worker of a slot, once there is exactly one."""
        def find():
            pids = [who.pid for who in self.table(name) if who.slot == slot]
            return pids if len(pids) == 1 else None
        return wait_until(find, f"one worker in slot {slot}")[0]

    def wait_table(self, count, gen=None, name="main", timeout=DEADLINE):
        """Until the pool has one worker in each of `count` slots, all of this generation."""
        def good():
            found = self.table(name)
            return ([who.slot for who in found] == list(range(count)) and
                    (gen is None or {who.gen for who in found} <= {gen}) and found)
        return wait_until(good, f"{count} workers of generation {gen}", timeout)

    def who(self, number=0):
        """Asks a worker who it is."""
        return parse_who(ask(self.address(number)))

    def wait_slots(self, count, number=0):
        """Asks until all of `count` slots have answered; {slot: pid}."""
        seen = {}

        def all_seen():
            answer = self.who(number)
            seen[answer.slot] = answer.pid
            return len(seen) >= count
        wait_until(all_seen, f"answers from {count} slots")
        equal(sorted(seen), list(range(count)), "slots that answered")
        return seen

    def reload(self, outcome=RELOAD_DONE, timeout=60):
        """Asks for a reload and waits for its outcome; the match in the log."""
        start = self.mark()
        self.send(signal.SIGHUP)
        return self.wait_log(outcome, start, timeout)


# What a container may do that Docker starts with its defaults.
CONTAINER_CAPS = ("chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,"
                  "net_raw,sys_chroot,mknod,audit_write,setfcap")


def as_in_container():
    """A wrapper that runs a command as root with the capabilities of a container."""
    need_root()
    caps = ",".join(f"+{name}" for name in CONTAINER_CAPS.split(","))
    return [need_program("setpriv"), "--inh-caps=-all", f"--bounding-set=-all,{caps}"]


def as_nobody():
    """A wrapper that runs a command as an ordinary user."""
    if not ROOT:
        return []
    need_other_user()
    return [need_program("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def activated(*sockets):
    """A wrapper that hands sockets over as a service manager does, and their descriptors."""
    fds = [sock.fileno() for sock in sockets]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "activate.py")
    return [sys.executable, path, ",".join(map(str, fds))], fds

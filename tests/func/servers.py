"""Servers that know nothing of any supervisor, each as its users start it."""
import os
import re
import subprocess
import typing

import harness
import proc
from harness import check, connect, folder, helper, matches, read_all, source, wait_until, write

GET = b"GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


def need(program, package):
    """The path of a program of a Debian package."""
    try:
        return harness.need_program(program)
    except harness.Skip:
        return harness.skip(f"{package} is not installed")


def file(name):
    return source(f"adopt/{name}")


def filled_in(name, **values):
    """A copy of a configuration with what is particular to this test."""
    with open(file(name), encoding="utf-8") as template:
        text = template.read()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return write(name, text)


def cgi_folder():
    """A folder with the CGI program /cgi-bin/who."""
    os.makedirs(f"{folder()}/cgi-bin", exist_ok=True)
    with open(file("who.sh"), encoding="utf-8") as script:
        write("cgi-bin/who", script.read(), 0o755)
    return folder()


def compiled(name, result, command, **env):
    """The path of what `command` makes of a source: once for a build, since it takes long."""
    out = f"{harness.BUILD}/tests/adopt-servers"
    path = f"{out}/{result}"
    os.makedirs(out, exist_ok=True)
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(file(name)):
        subprocess.run([*command, file(name)], cwd=out, check=True, env={**os.environ, **env})
    return path


# ---- their commands; each takes the host and the port ----

def binder(*options):
    """The command of the server written in C; `options` may hold addresses."""
    return [helper("workers/binder"), *options]


def need_foreign_calls():
    """For binder("--foreign")."""
    status = os.spawnv(os.P_WAIT, binder()[0], binder("--foreign", "--exit=0", "127.0.0.1:0"))
    if status == 77:
        harness.skip("no i386 system calls here")
    harness.equal(status, 0, "exit status of the server alone")


def c_server(*options):
    return lambda host, port: binder(*options, f"{host}:{port}")


def python_http(host, port):
    return [need("python3", "python3"), "-m", "http.server", "--cgi", "--bind", host,
            "--directory", cgi_folder(), str(port)]


def python_asyncio(host, port):
    return [need("python3", "python3"), file("asyncio_server.py"), host, str(port)]


def node_http(host, port):
    return [need("node", "nodejs"), file("node_http.js"), host, str(port)]


def node_app(_host, port):
    return [need("node", "nodejs"), file("node_app.js"), str(port)]


def go(host, port):
    command = [need("go", "golang-go"), "build", "-o", "server"]
    return [compiled("server.go", "server", command, CGO_ENABLED="0", GO111MODULE="off",
                     GOCACHE=f"{harness.BUILD}/tests/adopt-servers/cache"), f"{host}:{port}"]


def go_any(_host, port):
    return go("", port)


def java(host, port):
    command = [need("javac", "default-jdk-headless"), "-d", "."]
    path = compiled("Server.java", "Server.class", command)
    return [need("java", "default-jdk-headless"), "-cp", os.path.dirname(path), "Server", host,
            str(port)]


def nginx(host, port):
    return [need("nginx", "nginx-light"), "-p", folder(), "-e", "stderr", "-g",
            "pid nginx{slot}.run;", "-c", filled_in("nginx.conf", LISTEN=f"{host}:{port}")]


def lighttpd(host, port):
    return [need("lighttpd", "lighttpd"), "-D", "-f",
            filled_in("lighttpd.conf", HOST=host, PORT=port)]


def redis(host, port):
    return [need("redis-server", "redis-server"), "--bind", host, "--port", str(port), "--save", "",
            "--dir", folder()]


def busybox(host, port):
    return [need("busybox", "busybox"), "httpd", "-f", "-p", f"{host}:{port}", "-h", cgi_folder()]


def php(host, port):
    return [need("php", "php-cli"), "-S", f"{host}:{port}", file("router.php")]


def ruby(host, port):
    return [need("ruby", "ruby"), file("server.rb"), host, str(port)]


class Server(typing.NamedTuple):
    """One row of the table."""
    name: str
    command: typing.Callable
    request: bytes = GET % b"/"
    tells_slot: bool = True    # or only its process id
    wildcard: bool = False     # takes no host: it listens on all addresses
    drains: bool = False       # answers all that it has accepted when it is told to stop
    stop_signal: str = "TERM"

    def slot(self, m, address):
        """Which slot answers at the address."""
        with connect(address) as sock:
            sock.sendall(self.request)
            answer = read_all(sock).decode("latin-1")
        if self.tells_slot:
            return int(matches(answer, r"\bpid=\d+ slot=(\d+) gen=[1-9]", "answer").group(1))
        return slot_of(m, int(matches(answer, r"(?:pid=|process_id:)(\d+)", "answer").group(1)))

    def wait_slots(self, m, address, count):
        """Asks until all of `count` slots have answered."""
        seen = set()
        wait_listens(address)

        def all_seen():
            seen.add(self.slot(m, address))
            return len(seen) == count
        wait_until(all_seen, f"answers from {count} slots at {address}, got {seen}")
        check(seen == set(range(count)), f"slots that answered: {seen}")


def slot_of(m, pid):
    """The slot of a process that descends from a worker."""
    while (info := proc.stat(pid)) and info[2] != m.pid:
        check(info[2] > 1, f"process {pid} does not descend from a worker")
        pid = info[2]
    # not from its environment, which some servers overwrite with a title
    return int(m.wait_log(rf"main\.(\d+)\[{pid}\]: started").group(1))


CGI = GET % b"/cgi-bin/who"

SERVERS = [
    Server("python_http_server", python_http, CGI),
    Server("python_asyncio", python_asyncio, drains=True),
    Server("node_http", node_http, drains=True),
    Server("node_app", node_app, wildcard=True),
    Server("go", go, drains=True),
    Server("go_any", go_any, wildcard=True),
    Server("java", java),
    Server("nginx", nginx, tells_slot=False, drains=True, stop_signal="QUIT"),
    Server("lighttpd", lighttpd),
    Server("redis", redis, b"INFO server\r\nQUIT\r\n", tells_slot=False),
    Server("busybox_httpd", busybox, CGI),
    Server("php", php),
    Server("ruby", ruby),
    Server("c", c_server(), drains=True),
    Server("c_forking", c_server("--children=3"), drains=True),
    Server("c_forking_each_binds", c_server("--children=3", "--each", "--reuseport")),
    Server("c_threads", c_server("--threads=4"), drains=True),
    Server("c_threads_each_binds", c_server("--threads=4", "--each", "--reuseport")),
    Server("c_daemon", c_server("--daemonize"), drains=True),
    Server("c_own_filter", c_server("--filter")),
]


def server_named(name):
    return next(server for server in SERVERS if server.name == name)


def wait_listens(address, count=1):
    """Until so many sockets listen on its port. Without --listen the end of ready-delay is
    readiness, and on a slow machine that may come before the server binds."""
    port = int(address.rsplit(":", 1)[1])
    wait_until(lambda: proc.listeners(port) >= count, f"{count} sockets that listen on port {port}")


def own_sockets(address):
    """[{key: value}] of the sockets of the C server that answers, in the order of its arguments."""
    return [dict(re.findall(r"(\w+)=(\S+)", line))
            for line in harness.ask(address, "/sockets").splitlines()]

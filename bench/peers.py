"""The supervisors that are compared: how each is started over a server, reloaded and stopped.

To add one: a subclass of Peer with an instance in PEERS."""
import os
import shutil
import signal
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVERS = os.path.join(TOP, "bench", "servers")
PREFORKD = os.path.abspath(os.environ.get("PREFORKD", f"{TOP}/build/preforkd"))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.dirname(PREFORKD)))
WORKER = f"{BUILD}/tests/workers/server"
SLEEPER = f"{BUILD}/tests/workers/sleeper"
FLOOR = f"{BUILD}/tests/lib/floor"
ALL = {"crash", "storm", "reload", "idle", "balance", "throughput"}
BACKLOG = 4096


def program(name, folder=None):
    return shutil.which(name, path=folder or "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")


def first_line(*command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (run.stdout or run.stderr).strip().splitlines()
    return lines[-1] if lines else ""


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


class Peer:
    """`r` of the methods is a run: n workers, a port, a folder, kill(), command()."""
    name = ""
    server = "c"        # which server it runs: c, node, python, or its own
    measures = ALL
    most = 4096         # workers that it can run
    settle = 0.3        # seconds a worker must have lived for an immediate restart
    reload_pause = 0.2  # seconds after a reload until it takes another
    how = ""            # the configuration in words
    needs = ()          # programs
    worker_names = ("server", "sleeper")  # of processes; none: all that it forked

    def missing(self):
        """What it lacks to run here, or None."""
        for name in self.needs:
            if not program(name):
                return f"{name} is not installed"
        return None

    def version(self):
        return ""

    def argv(self, r):
        """The command that starts it in the foreground."""
        raise NotImplementedError

    def many_argv(self, r):
        """The command that runs r.n sleepers."""
        raise NotImplementedError

    def environ(self, r):
        return {}

    def is_worker(self, process, r):
        return process.name in self.worker_names if self.worker_names else process.parent == r.pid

    def reload(self, r):
        r.kill(signal.SIGHUP)

    def before_end(self, r):
        """Where TERM to the process that was started is not enough."""


class Preforkd(Peer):
    name = "preforkd"
    measures = ALL | {"many"}
    how = "min-uptime 50 ms, backoff at most 200 ms, no breaker, health pages on; else defaults"
    worker = [WORKER, "--fd=3"]

    def version(self):
        return first_line(PREFORKD, "--version").split()[-1]

    def options(self, r):
        return [PREFORKD, "-q", "-w", str(r.n), "--min-uptime", "50ms", "--backoff-max", "200ms",
                "--breaker-failures", "0", "--health", f"127.0.0.1:{r.port + 1}", "--control", f"{r.folder}/control"]

    def argv(self, r):
        return [*self.options(r), "-l", f"127.0.0.1:{r.port}", "--", *self.worker]

    def many_argv(self, r):
        return [*self.options(r), "--adopt", "off", "--ready", "notify", "--", SLEEPER]


class PreforkdNode(Preforkd):
    name = "preforkd + node"
    server = "node"
    how = "preforkd -- node server.js, unmodified: its bind(2) is adopted"
    measures = {"crash", "storm", "reload", "balance", "throughput"}
    needs = ("node",)
    worker_names = ()

    def argv(self, r):
        return [*self.options(r), "--", program("node"), f"{SERVERS}/server.js"]


class Floor(Peer):
    """No supervisor: fork(2), execve(2), wait(2)."""
    name = "floor"
    how = "tests/lib/floor.c: fork, exec and wait, a socket for each worker, nothing else"
    measures = {"crash", "idle", "many"}

    def argv(self, r):
        return [FLOOR, str(r.port), str(r.n), WORKER, "--fd=3"]

    def many_argv(self, r):
        return [FLOOR, "0", str(r.n), SLEEPER]


class Alone(Peer):
    """Workers that bind the port themselves; nobody would start them again."""
    name = "workers alone"
    how = "the same server with a SO_REUSEPORT socket of its own, unsupervised"
    measures = {"balance", "throughput"}

    def argv(self, r):
        return [FLOOR, "0", str(r.n), WORKER, f"--bind={r.port}"]


class Nginx(Peer):
    name = "nginx"
    server = "its own"
    how = "worker_processes N, return 200"
    needs = ("nginx",)

    def version(self):
        return first_line(program("nginx"), "-v").rsplit("/", 1)[-1]

    def argv(self, r):
        temporary = "".join(f"{what}_temp_path {r.folder}/{what};\n" for what in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        write(f"{r.folder}/nginx.conf", f"""daemon off; worker_processes {r.n}; user root;
pid {r.folder}/nginx-pid; error_log {r.folder}/error warn; events {{ worker_connections 4096; }}
http {{ access_log off; {temporary} keepalive_timeout 600s;
server {{ listen 127.0.0.1:{r.port} backlog={BACKLOG};
location / {{ default_type text/plain; return 200 "pid=$pid slot=0 gen=0\\n"; }} }} }}\n""")
        return [program("nginx"), "-p", r.folder, "-c", f"{r.folder}/nginx.conf",
                "-e", f"{r.folder}/error"]

    def is_worker(self, process, r):
        return process.parent == r.pid and "worker process" in process.command()


class NodeCluster(Peer):
    name = "Node cluster"
    server = "node"
    how = "bench/servers/primary.js: fork at exit, rolling reload"
    needs = ("node",)
    worker_names = ()

    def version(self):
        return first_line(program("node"), "--version")

    def argv(self, r):
        return [program("node"), f"{SERVERS}/primary.js"]


class Pm2(Peer):
    name = "PM2"
    server = "node"
    how = "cluster mode, max_restarts raised, reload = pm2 reload"
    settle = 2
    needs = ("node",)

    def program(self):
        return program("pm2", os.environ.get("BENCH_PATH"))

    def missing(self):
        return super().missing() or (None if self.program() else "pm2 is not installed "
                                     "(npm install pm2; BENCH_PATH names its folder)")

    def version(self):
        found = os.path.join(os.path.dirname(os.path.realpath(self.program())), "..", "package.json")
        with open(found, encoding="utf-8") as file:
            return next(line.split('"')[3] for line in file if '"version"' in line)

    def environ(self, r):
        return {"PM2_HOME": f"{r.folder}/pm2", "PM2_DISABLE_VERSION_CHECK": "1"}

    def argv(self, r):
        write(f"{r.folder}/w.config.js", f"""module.exports = {{ apps: [{{ name: 'w',
script: '{SERVERS}/server.js', instances: {r.n}, exec_mode: 'cluster', max_restarts: 100000,
env: {{ PORT: '{r.port}' }}, out_file: '/dev/null', error_file: '/dev/null' }}] }};\n""")
        return [program("node"), self.program(), "start", f"{r.folder}/w.config.js"]

    def is_worker(self, process, r):
        command = process.command()
        return "server.js" in command and "God" not in command and "pm2 " not in command

    def reload(self, r):
        r.command([program("node"), self.program(), "reload", "w"])

    def before_end(self, r):
        r.command([program("node"), self.program(), "kill"])


class Gunicorn(Peer):
    name = "gunicorn"
    server = "python"
    how = "sync workers"
    measures = ALL - {"balance"}  # it keeps no connection
    needs = ("gunicorn",)
    worker_names = ()

    def version(self):
        return first_line(program("gunicorn"), "--version").split()[-1].rstrip(")")

    def argv(self, r):
        return [program("gunicorn"), "-w", str(r.n), "-b", f"127.0.0.1:{r.port}", "--backlog",
                str(BACKLOG), "--chdir", SERVERS, "--log-level", "warning", "app:application"]


class Uwsgi(Peer):
    name = "uWSGI"
    server = "python"
    how = "--master --lazy-apps, reload = chain reload"
    measures = ALL - {"balance"}
    reload_pause = 3
    needs = ("uwsgi",)
    worker_names = ()

    def missing(self):
        return super().missing() or (None if "python" in first_line(
            "find", "/usr/lib/uwsgi/plugins", "-name", "python3*_plugin.so")
            else "uwsgi-plugin-python3 is not installed")

    def version(self):
        return first_line(program("uwsgi"), "--version")

    def argv(self, r):
        return [program("uwsgi"), "--plugin", "python3", "--http-socket", f"127.0.0.1:{r.port}",
                "--listen", "1024", "--master", "--processes", str(r.n), "--lazy-apps",
                "--wsgi-file", f"{SERVERS}/app.py", "--disable-logging", "--die-on-term",
                "--master-fifo", f"{r.folder}/fifo"]

    def reload(self, r):
        write(f"{r.folder}/fifo", "c")


class StartServer(Peer):
    name = "Server::Starter"
    how = "start_server --interval=0: one worker only"
    most = 1
    measures = ALL - {"balance", "throughput"}  # no load is spread
    needs = ("start_server",)

    def version(self):
        return first_line("dpkg-query", "-W", "-f", "${Version}", "libserver-starter-perl")

    def argv(self, r):
        return [program("start_server"), "--interval=0", f"--backlog={BACKLOG}",
                f"--port=127.0.0.1:{r.port}", "--", WORKER, "--starter"]


class S6(Peer):
    name = "s6"
    how = "s6-svscan over N services, workers bind the port themselves; reload = s6-svc -r in turn"
    settle = 1.1
    measures = (ALL | {"many"}) - {"throughput"}
    needs = ("s6-svscan",)

    def version(self):
        return first_line("dpkg-query", "-W", "-f", "${Version}", "s6")

    def tree(self, r, command):
        for i in range(r.n):
            write(f"{r.folder}/service/{i:04}/run", f"#!/bin/sh\nexec {command}\n", 0o755)
        return [program("s6-svscan"), "-c", "4096", f"{r.folder}/service"]

    def argv(self, r):
        return self.tree(r, f"{WORKER} --bind={r.port}")

    def many_argv(self, r):
        return self.tree(r, SLEEPER)

    def reload(self, r):
        for i in range(r.n):
            r.command([program("s6-svc"), "-wr", "-T", "15000", "-r", f"{r.folder}/service/{i:04}"])


class Supervisord(Peer):
    name = "supervisord"
    how = "fcgi-program with startsecs=0: one shared socket; reload = restart in turn"
    measures = (ALL | {"many"}) - {"throughput"}
    needs = ("supervisord",)

    def version(self):
        return first_line(program("supervisord"), "--version")

    def configure(self, r, section, command, more=""):
        write(f"{r.folder}/sup.conf", f"""[unix_http_server]
file={r.folder}/sup
[supervisord]
logfile={r.folder}/sup.log
pidfile={r.folder}/sup-pid
nodaemon=true
loglevel=warn
minfds=8192
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{r.folder}/sup
[{section}:w]
command={command}
numprocs={r.n}
process_name=w%(process_num)d
autorestart=true
startsecs=0
stdout_logfile=NONE
stderr_logfile=NONE
{more}""")
        return [program("supervisord"), "-c", f"{r.folder}/sup.conf"]

    def argv(self, r):
        return self.configure(r, "fcgi-program", f"{WORKER} --fd=0",
                              f"socket=tcp://127.0.0.1:{r.port}\nsocket_backlog={BACKLOG}\n")

    def many_argv(self, r):
        return self.configure(r, "program", SLEEPER)

    def reload(self, r):
        for i in range(r.n):
            r.command([program("supervisorctl"), "-c", f"{r.folder}/sup.conf", "restart", f"w:w{i}"])


PEERS = [Preforkd(), Floor(), Alone(), PreforkdNode(), NodeCluster(), Pm2(), Nginx(), Gunicorn(),
         Uwsgi(), StartServer(), S6(), Supervisord()]

"""Starting: arguments, configuration, exit statuses, and the first worker of each kind."""
import os
import signal
import socket

import proc
from harness import (DEADLINE, Master, Systemd, as_nobody, check, diag, equal, folder, free_port,
                     matches, need_program, pool, server, skip, sleeper, source,
                     wait_until, write)


def refused(status, pattern, *args, what, **kwargs):
    """A start that must end at once, with one line that says why."""
    got, text = Master(*args, **kwargs).run()
    equal(got, status, f"exit status of {what} ({text!r})")
    lines = [line for line in text.splitlines() if line.strip()]
    equal(len(lines), 1, f"lines on stderr for {what}: {lines}")
    matches(lines[0], pattern, what)


def run(*args, **kwargs):
    """(status, text) of a preforkd that ends by itself."""
    return Master(*args, **kwargs).run()


def four_workers(command, *args):
    """Four workers answer; each that is killed is replaced, and answers again."""
    with Master("-w", "4", "-l", "127.0.0.1:0", "--min-uptime", "50ms", *args, "--",
                *command) as m:
        m.wait_ready(timeout=60)
        m.wait_slots(4)
        for slot in range(4):
            old = m.in_slot(slot)
            os.kill(old, signal.SIGKILL)
            new = wait_until(lambda: (m.in_slot(slot) != old) and m.in_slot(slot),
                             "replacement of a killed worker")
            check(new not in (old, 0), "a new process")
            m.wait_ready()
        m.wait_slots(4)


def test_four_c_systemd():
    """4 workers by LISTEN_FDS, each replaced when killed"""
    four_workers(server())


def test_four_c_starter():
    """4 workers by SERVER_STARTER_PORT, each replaced when killed"""
    four_workers(server("--starter"))


def test_four_c_einhorn():
    """4 workers by EINHORN_FD_0, each replaced when killed"""
    four_workers(server("--einhorn"))


def test_four_node():
    """4 Node workers by listen({fd: 3}), each replaced when killed"""
    four_workers([need_program("node"), source("app.js")])


def test_four_gunicorn():
    """4 gunicorns by LISTEN_FDS, each replaced when killed"""
    four_workers([need_program("gunicorn"), "--chdir", source(""), "--log-level", "warning",
                  "wsgi:app"])


def test_four_uvicorn():
    """4 uvicorns by --fd {fd}, each replaced when killed"""
    four_workers([need_program("uvicorn"), "--app-dir", source(""), "--log-level", "warning",
                  "--fd", "{fd}", "asgi:app"])


def test_usage():
    """Bad usage is status 2 and one clear line"""
    refused(2, r"^preforkd: .*COMMAND", what="no command")
    refused(2, r"^preforkd: .*no-such-option", "--no-such-option", "--", "true",
            what="unknown option")
    refused(2, r"workers: '0' is out of range \(1\.\.4096, or auto\)", "-w", "0", "--", "true",
            what="workers 0")
    refused(2, r"stop-timeout: '5x'", "--stop-timeout", "5x", "--", "true", what="bad time")
    refused(2, r"PREFORKD_STOP_TIMEOUT.*'soon'|stop-timeout: 'soon'", "--", "true",
            env={"PREFORKD_STOP_TIMEOUT": "soon"}, what="bad time in the environment")
    refused(2, r"listen: .*70000 is out of range", "-l", "127.0.0.1:70000", "--", "true",
            what="port 70000")


def test_unknown_user():
    """A user or group that does not exist is a bad configuration, told with its place"""
    refused(2, r"^preforkd: --user: there is no user 'no-such'", "--user", "no-such", "--", "true",
            what="unknown user")
    path = write("conf", pool(command=["/bin/true"], group="no-such"))
    refused(2, r"^preforkd: .*:\d+: \[pool:\w+\] group: there is no group 'no-such'",
            "--config", path, "-t", what="unknown group")


def test_config_error_line():
    """A bad value in the file is told as file:line, section, setting, value and what is accepted"""
    write("web.conf", "[preforkd]\nhealth = off\n" + "#\n" * 7 +
          "[pool:web]\ncommand = true\nworkers = 0\n")
    refused(2, r"^preforkd: web\.conf:12: \[pool:web\] workers: '0' is out of range "
               r"\(1\.\.4096, or auto\)$", "--config", "web.conf", cwd=folder(), what="workers = 0")


def test_config_refusals():
    """Unknown keys, duplicates, unknown sections and odd files are refused, with the line"""
    cases = {
        "unknown key": ("[pool:main]\ncommand = true\ncolour = red\n", r":3: .*colour"),
        "duplicate": ("[pool:main]\ncommand = true\nworkers = 1\nworkers = 2\n", r":4: .*workers"),
        "section": ("[pool:main]\ncommand = true\n[plumbing]\nx = 1\n", r":[34]: .*plumbing"),
        "no pool": ("[preforkd]\nhealth = off\n", r"pool"),
        "no command": ("[pool:main]\nworkers = 1\n", r"\[pool:main\].*command"),
        "quote": ("[pool:main]\ncommand = echo 'a\n", r":2: .*command"),
        "NUL": ("[pool:main]\ncommand = true\0x\n", r"NUL|zero|binary"),
    }
    for what, (text, pattern) in cases.items():
        refused(2, pattern, config=text, what=what)
    refused(2, r"nosuch\.conf.*No such file", "--config", "/nosuch.conf", what="missing file")
    refused(2, r"directory", "--config", folder(), what="a directory")
    os.mkfifo(os.path.join(folder(), "fifo"))
    refused(2, r"fifo", "--config", os.path.join(folder(), "fifo"), what="a FIFO")
    refused(2, r"large|big|too", config="#" * (5 << 20), what="5 MB")


def test_command_not_found():
    """A missing COMMAND is status 127 and one that is not executable 126, at once"""
    for args in (["no-such-program"], ["/nonexistent/program"]):
        status, text = run("-w", "2", "--", *args, env={"PATH": "/usr/bin:/bin"})
        equal(status, 127, f"exit status ({text})")
        matches(text, rf"{args[0]}.*No such file", "reason")
    path = write("plain", "no program\n")
    status, text = run("-w", "2", "--", path)
    equal(status, 126, f"exit status ({text})")
    matches(text, r"plain.*Permission denied", "reason")
    check(text.count("Permission denied") < 4, f"it was tried again: {text}")

    status, text = run("-w", "2", "-q", "-q", "--", path)
    equal(status, 126, f"exit status ({text})")
    matches(text, r"^[^\n]*error main: the first start is impossible: cannot run[^\n]*plain[^\n]*\n$",
            "one line")


def test_address_in_use():
    """A taken address is status 1 at once, and names who has it"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, text = run("-l", f"127.0.0.1:{port}", "--", *server())
        equal(status, 1, f"exit status ({text})")
        matches(text, rf"127\.0\.0\.1:{port}.*in use.*pid {os.getpid()} \(python3", "reason")
        equal(text.count("in use"), 1, "tries")
        status, text = Master("--", *sleeper(), health=f"127.0.0.1:{port}").run()
        equal(status, 1, f"exit status with a taken health address ({text})")
        matches(text, rf"health.*{port}", "reason")


def test_foreign_listener():
    """A stranger on the same port with SO_REUSEPORT is named, not silently joined"""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        m = Master("-w", "1", "-l", f"127.0.0.1:{port}", "--", *server())
        status, text = m.run()
        matches(text, rf"{port}.*pid {os.getpid()} \(python3", "log")
        equal(status, 1, "exit status")


def test_low_port():
    """A port below 1024 as an ordinary user: status 1 and what to do about it"""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 81:
            skip("every user may bind port 81 here")
    status, text = run("-l", "127.0.0.1:81", "--", "/bin/true", wrapper=as_nobody())
    equal(status, 1, f"exit status ({text})")
    matches(text, r":81.*(Permission denied|privilege|CAP_NET_BIND_SERVICE)", "reason")


def test_ordinary_user():
    """An ordinary user needs nothing special"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server(), wrapper=as_nobody()) as m:
        m.wait_ready()
        m.wait_slots(2)


def values(dump):
    """The settings of a dump without the origins, in any order."""
    return sorted(line.split(" #")[0].strip() for line in dump.splitlines() if "=" in line)


def test_check_and_dump():
    """-t checks without starting; --dump-config shows values with origins and can be read back"""
    text = pool(workers=3, listen=["127.0.0.1:0", "udp:127.0.0.1:0"], stop_timeout="7s")
    equal(run("-t", config=text)[0], 0, "exit status of -t")
    equal(run("-t", config=text.replace("= 3", "= x"))[0], 2, "exit status of -t, bad file")
    status, dump = run("--dump-config", config=text)
    equal(status, 0, "exit status of --dump-config")
    matches(dump, r"^workers = 3\b", "dump")
    matches(dump, r"^backlog = 4096\b", "dump")
    status, again = run("--dump-config", config=dump)
    equal(status, 0, f"exit status for the dump itself ({again})")
    equal(values(again), values(dump), "dump of the dump")


def test_precedence():
    """default < file < environment < command line"""
    def value(*args, env=None):
        status, dump = run("--dump-config", *args, config=config, env=env)
        equal(status, 0, f"exit status ({dump})")
        return matches(dump, r"^stop-timeout = (\w+)", "dump").group(1)
    config, env = pool(), {"PREFORKD_STOP_TIMEOUT": "8s"}
    equal(value(), "30s", "default")
    config = pool(stop_timeout="7s")
    equal(value(), "7s", "file")
    equal(value(env=env), "8s", "environment")
    equal(value("--stop-timeout", "9s", env=env), "9s", "command line")


def test_help_and_version():
    """-h and -V say what they should on stdout and end with 0"""
    for option in ("-h", "--help"):
        status, text = run(option)
        equal(status, 0, option)
        for word in ("--stop-timeout", "--listen", "--workers", "--config", "--dump-config"):
            check(word in text, f"{word} is not in the help")
    for option in ("-V", "--version"):
        status, text = run(option)
        equal(status, 0, option)
        matches(text, r"^preforkd \d+\.\d+", "version")


def test_workers_auto():
    """Without -w there is one worker for each CPU that the master may use"""
    for cpus in {1, len(os.sched_getaffinity(0))}:
        few = set(sorted(os.sched_getaffinity(0))[:cpus])
        with Master("--", *sleeper(), preexec_fn=lambda: os.sched_setaffinity(0, few)) as m:
            m.wait_ready()
            count = len(m.workers())
            check(1 <= count <= cpus, f"{count} workers on {cpus} CPUs")
            diag(f"{cpus} CPUs: {count} workers")


def test_pidfile():
    """The pidfile is there while it runs and gone afterwards"""
    path = os.path.join(folder(), "main.pid")
    with Master("-w", "1", "--pidfile", path, "--", *sleeper()) as m:
        m.wait_ready()
        with open(path, encoding="ascii") as file:
            equal(int(file.read()), m.pid, "pidfile")
    check(not os.path.exists(path), "the pidfile is still there")


def test_bad_inheritance():
    """Ignored SIGCHLD, blocked signals, closed 0-2 and open descriptors of the parent do no harm"""
    def spoil():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP})
        os.dup2(1, 77)
    port = free_port()
    wrapper = ["/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"]
    with Master("-w", "1", "-l", f"127.0.0.1:{port}", "--min-uptime", "10ms", "--", *server(),
                health=f"127.0.0.1:{free_port()}", wrapper=wrapper, preexec_fn=spoil,
                close_fds=False) as m:
        worker = m.in_slot(0)  # which has an environment of its own, so it was exec'ed
        wait_until(lambda: proc.fds(worker).get(3, "").startswith("socket:"), "its socket")
        check(77 not in proc.fds(worker), "a descriptor of the parent leaked into the worker")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: m.workers() not in ([worker], []), "a replacement")


def test_health_off():
    """health = off opens no port"""
    systemd = Systemd()
    with Master("-w", "1", "--health", "off", "--", *sleeper(), health=None,
                env=systemd.env()) as m:
        systemd.wait("READY", "1", timeout=DEADLINE)
        check("health on" not in m.log(), "there is a health address")
        equal(m.process.poll(), None, "exit status")


def test_wrapper_argument():
    """A command's own options and brace text reach it unchanged"""
    out = os.path.join(folder(), "arguments")
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", "/bin/sh", "-c",
                'printf "%s\\n" "$@" > "$0.new"; mv "$0.new" "$0"; exec sleep 1000', out,
                "-w", "{fd}", "{port}", "{slot}", "{pool}", "{other}", "a b", "{", "") as m:
        wait_until(lambda: os.path.exists(out), "the worker's arguments")
        with open(out, encoding="utf-8") as file:
            got = file.read().split("\n")[:-1]
        equal(got, ["-w", "3", str(m.port()), "0", "main", "{other}", "a b", "{", ""], "arguments")

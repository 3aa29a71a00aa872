"""A small Debian with a systemd of its own that runs the build, for tests of the unit files and of
the package. It is made once for a build by debootstrap(8), and booted by systemd-nspawn(1) with an
overlay over it, in name spaces and a network of its own."""
import atexit
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time

import harness
import proc
from harness import BUILD, PREFORKD, check, diag, skip, wait_until

TREE = f"{BUILD}/tests/debian-tree"
# A container wants neither logins nor chores.
MASKED = ("console-getty.service", "getty.target", "e2scrub_reap.service", "systemd-logind.service",
          "systemd-user-sessions.service", "apt-daily.timer", "apt-daily-upgrade.timer",
          "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "systemd-timesyncd.service",
          "systemd-tmpfiles-clean.timer", "systemd-update-utmp.service",
          "systemd-update-utmp-runlevel.service", "systemd-networkd.service",
          "systemd-resolved.service")
BOOT_S = 120  # until the system is up, on a busy machine
CLONE_NEWNET = 0x40000000


def release():
    """The code name of this Debian, whose libraries the build needs."""
    with open("/etc/os-release", encoding="utf-8") as file:
        found = dict(line.strip().split("=", 1) for line in file if "=" in line)
    if found.get("ID") != "debian" or "VERSION_CODENAME" not in found:
        skip("builds of this system do not run in a Debian")
    return found["VERSION_CODENAME"].strip('"')


def libraries():
    """The packages with the libraries that the programs of the build need."""
    programs = [path for path in (PREFORKD, f"{os.path.dirname(PREFORKD)}/preforkctl")
                if os.path.exists(path)]
    text = subprocess.run(["ldd", *programs], stdout=subprocess.PIPE, check=True, text=True).stdout
    paths = sorted(set(re.findall(r"=> (/\S+)", text)))
    # Of a file below /lib, which is a link to /usr/lib, only one of the two names is known.
    names = [*paths, *map(os.path.realpath, paths)]
    owners = subprocess.run(["dpkg", "-S", *names], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True).stdout
    return sorted({line.split(":")[0] for line in owners.splitlines()
                   if not line.startswith("diversion ")})


def tree():
    """The root of the Debian, made when there is none."""
    harness.need_root()
    if harness.SANITIZERS:
        skip("a build with sanitizers does not run in a plain Debian")
    for program, package in (("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container"),
                             ("unshare", "util-linux"), ("nsenter", "util-linux")):
        if not shutil.which(program):
            skip(f"NOT TESTED under systemd: {package} is not installed")
    packages = ",".join(["systemd", "systemd-sysv", "dbus", *libraries()])
    stamp = f"{TREE}/.complete"
    if not os.path.exists(stamp) or open(stamp, encoding="utf-8").read() != packages:
        make_tree(packages)
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(packages)
    return TREE


def make_tree(packages):
    began = time.monotonic()
    shutil.rmtree(TREE, ignore_errors=True)
    log = f"{TREE}.log"
    with open(log, "wb") as file:
        status = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", release(), TREE],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
    if status != 0:
        shutil.rmtree(TREE, ignore_errors=True)
        last = open(log, encoding="utf-8", errors="replace").read().splitlines()[-1:]
        skip(f"NOT TESTED under systemd: debootstrap failed: {last}")
    diag(f"made a Debian in {time.monotonic() - began:.0f} s")


class Cgroups:
    """A control group for the container in every hierarchy that systemd uses, so that nothing of it
    ends up in ours."""

    def __init__(self):
        self.folders = []
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            ours = {line.split(":")[1]: line.strip().split(":", 2)[2] for line in file}
        for controllers, places in (("", ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")),
                                    ("name=systemd", ("/sys/fs/cgroup/systemd",))):
            for place in places:
                folder = f"{place}{ours.get(controllers, '')}/preforkd-test-{os.getpid()}"
                if controllers in ours and os.path.exists(f"{place}/cgroup.procs"):
                    self.folders.append(folder)

    def enter(self):
        """In the child, before exec."""
        for folder in self.folders:
            os.makedirs(folder, exist_ok=True)
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
                file.write("0")

    def remove(self):
        for top in self.folders:
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass


class Booted:
    """The running system, until the end of the block. `binds` are pairs of a file here and its path
    there; `programs` of the build are in /usr/local/bin."""

    def __init__(self, binds=(), masked=MASKED, programs=("preforkd", "preforkctl")):
        self.tree = tree()
        self.log_path = os.path.join(harness.folder(), "console")
        self.cgroups = Cgroups()
        self.leader = 0
        self.args = ["unshare", "--mount", "--propagation", "private", "systemd-nspawn", "--quiet",
                     f"--directory={self.tree}", "--volatile=overlay", "--boot", "--register=no",
                     "--keep-unit", "--private-network", "--console=read-only",
                     "--machine=preforkd-test", f"--bind-ro={BUILD}:/build"]
        for name in programs:
            path = f"{os.path.dirname(PREFORKD)}/{name}"
            if os.path.exists(path):
                self.args.append(f"--bind-ro={path}:/usr/local/bin/{name}")
        self.args += [f"--bind-ro={here}:{there}" for here, there in binds]
        self.args += ["systemd.unit=multi-user.target", *(f"systemd.mask={name}" for name in masked)]
        self.process = None

    def __enter__(self):
        began = time.monotonic()
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=self.cgroups.enter)
        atexit.register(self.cgroups.remove)
        try:
            self.leader = wait_until(self.find_leader, "the container's first process", BOOT_S)
            wait_until(self.is_up, "the container's systemd", BOOT_S)
        except BaseException:
            self.end()
            raise
        diag(f"booted in {time.monotonic() - began:.1f} s: "
             f"{self.run('systemctl', '--version').splitlines()[0]}")
        return self

    def console(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return re.sub(r"\x1b\[[0-9;]*m", "", file.read())

    def find_leader(self):
        if self.process.poll() is not None:
            text = self.console()
            skip(f"NOT TESTED under systemd: a container cannot be booted here: {text[-300:]}")
        return next((pid for pid in proc.children(self.process.pid)
                     if (proc.stat(pid) or ("",))[0] == "systemd"), None)

    def is_up(self):
        if self.process.poll() is not None:
            skip(f"NOT TESTED under systemd: the container ended: {self.console()[-300:]}")
        return self.call("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def __exit__(self, kind, value, traceback):
        if kind is not None and not issubclass(kind, harness.Skip):
            diag(self.call("journalctl", "--no-pager", "-n", "40", "-u", "preforkd*").stdout)
        self.end()

    def end(self):
        """The kernel kills everything in the container with its first process."""
        if self.leader and proc.alive(self.leader):
            os.kill(self.leader, signal.SIGKILL)
        elif self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.cgroups.remove()

    # ---- inside

    def call(self, *command, timeout=60, text=None):
        """Runs a command inside; what subprocess.run() returns."""
        return subprocess.run(
            ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid",
             "--root", "env", "-i", "--chdir=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
             "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_COLORS=0",
             *command],
            input=text or "", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
            text=True)

    def run(self, *command, timeout=60, text=None):
        """The output of a command that has to succeed."""
        done = self.call(*command, timeout=timeout, text=text)
        check(done.returncode == 0,
              f"{' '.join(command)}: status {done.returncode}: {done.stdout}")
        return done.stdout

    def write(self, path, text):
        self.run("sh", "-c", f"mkdir -p $(dirname {path}) && cat >{path}", text=text)

    def show(self, unit, key):
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", key, unit).strip()

    def wait_property(self, unit, key, pattern, timeout=harness.DEADLINE):
        return wait_until(lambda: re.fullmatch(pattern, self.show(unit, key)),
                          f"{key} of {unit} to be {pattern}; it is {self.show(unit, key)!r}",
                          timeout)

    def main_pid(self, unit):
        """The process id, outside, of the main process of a unit."""
        inside = int(self.show(unit, "MainPID"))
        for pid in proc.descendants(self.leader):
            numbers = (proc.status(pid).get("NSpid") or "0").split()
            if len(numbers) > 1 and int(numbers[-1]) == inside:
                return pid
        return None

    def join_network(self):
        """From now on this test's own connections are made inside."""
        with open(f"/proc/{self.leader}/ns/net", "rb") as file:
            check(ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) == 0,
                  "cannot enter the container's network")

    def install_units(self):
        """The unit files of the build."""
        for name in ("preforkd.service", "preforkd@.service", "preforkd.socket"):
            with open(f"{BUILD}/systemd/{name}", encoding="utf-8") as file:
                self.write(f"/etc/systemd/system/{name}", file.read())
        self.run("systemctl", "daemon-reload")

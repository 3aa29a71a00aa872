"""The Debian package: builds, installs, starts, replaces a running master, is removed and purged."""
import glob
import os
import re
import shutil
import subprocess

from booted import Booted, tree
from harness import (BUILD, PREFORKD, SANITIZERS, TOP, ask, check, diag, equal, need_root, parse_who,
                     skip, timeout)

CONFIG = ("[pool:web]\ncommand = /build/tests/workers/server --notify\nlisten = 127.0.0.1:8080\n"
          "workers = 2\nmin-uptime = 50ms\n")
# What a system writes while it runs, and what dpkg notes of every package.
CHANGING = ("./proc", "./sys", "./dev", "./run", "./tmp", "./build", "./package", "./var/log",
            "./var/cache", "./var/tmp", "./var/lib/dpkg", "./var/lib/apt", "./var/lib/systemd",
            "./root", "./etc/.updated", "./var/.updated")


def package():
    """The path of the package, built when it is older than the program."""
    need_root()
    for program in ("dpkg-buildpackage", "dh"):
        if not shutil.which(program):
            skip(f"NOT TESTED as a package: {program} is not installed (debhelper)")
    if SANITIZERS or not os.path.exists(f"{BUILD}/Makefile"):
        skip("no package is made of this build")
    found = glob.glob(f"{BUILD}/deb/preforkd_*.deb")
    made_of = [PREFORKD, *glob.glob(f"{TOP}/deploy/debian/*"), *glob.glob(f"{TOP}/systemd/*.in")]
    if not found or os.path.getmtime(found[0]) < max(map(os.path.getmtime, made_of)):
        env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        done = subprocess.run(["make", "-C", BUILD, "deb"], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        check(done.returncode == 0, f"make deb: {done.stdout[-2000:]}")
        found = glob.glob(f"{BUILD}/deb/preforkd_*.deb")
    return found[0]


def files(system):
    """Every path that lasts."""
    prune = " -o ".join(f"-path {path}" for path in CHANGING)
    return set(system.run("sh", "-c", f"cd / && find . \\( {prune} \\) -prune -o -print").splitlines())


def who():
    return parse_who(ask("127.0.0.1:8080"))


@timeout(900)
def test_package():
    """apt install, systemctl enable --now, an upgrade in place, apt purge: nothing is left"""
    tree()
    deb = package()
    diag(f"{os.path.basename(deb)}: {os.path.getsize(deb) // 1024} kB")
    with Booted(binds=[(deb, "/package/preforkd.deb")], programs=()) as system:
        before = files(system)
        system.run("apt-get", "install", "-y", "/package/preforkd.deb", timeout=200)
        equal(system.show("preforkd", "UnitFileState"), "disabled", "state after the installation")
        system.run("preforkd", "--version")

        system.write("/etc/preforkd.conf", CONFIG)
        system.run("systemctl", "enable", "--now", "preforkd")
        system.join_network()
        first = who()
        status = system.run("preforkctl", "status")
        equal(len(re.findall(r"^web +\d +up ", status, re.MULTILINE)), 2, "slots that are up")

        master = system.main_pid("preforkd")
        workers = {who().pid for _ in range(40)}
        system.run("apt-get", "install", "-y", "--reinstall",
                   "/package/preforkd.deb", timeout=200)
        equal(system.main_pid("preforkd"), master, "the master after an upgrade")
        equal({who().pid for _ in range(40)}, workers, "the workers after an upgrade")
        check(first.pid in workers, "the first worker")

        system.run("apt-get", "remove", "-y", "preforkd", timeout=200)
        equal(system.call("systemctl", "is-active", "preforkd").stdout.strip(), "inactive",
              "state after the removal")
        system.run("apt-get", "purge", "-y", "preforkd", timeout=200)
        equal(sorted(files(system) - before), [], "files that are left")
        system.run("sh", "-c", "! getent passwd preforkd")

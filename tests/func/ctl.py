"""preforkctl, and the terminal that it runs on."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

from harness import BUILD, check, equal, wait_until

PREFORKCTL = os.path.join(BUILD, "preforkctl")
SCREEN = re.escape("\033[?1049h")  # the whole screen begins


def ctl(path, *args, env=None, limit=30, wrapper=()):
    """(exit status, stdout, stderr)"""
    result = subprocess.run([*wrapper, PREFORKCTL, *(["-s", path] if path else []), *args],
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=limit,
                            check=False, env={**os.environ, "NO_COLOR": "", **(env or {})})
    return result.returncode, result.stdout.decode(), result.stderr.decode()


class Terminal:
    """A pseudo-terminal with preforkctl on it."""

    def __init__(self, *args, size=(24, 80), env=None):
        self.args = args
        self.size = size
        self.env = {**os.environ, "TERM": "xterm", **(env or {})}
        self.seen = ""

    def __enter__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *self.size, 0, 0))
            os.execve(PREFORKCTL, [PREFORKCTL, *self.args], self.env)
        self.settings = termios.tcgetattr(self.fd)
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def poll(self):
        """Reads what there is; false at the end."""
        while select.select([self.fd], [], [], 0)[0]:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                return False
            if not piece:
                return False
            self.seen += piece.decode(errors="replace")
        return True

    def expect(self, pattern, start=0):
        """Waits for the pattern behind `start`; where it ends."""
        def find():
            self.poll()
            return re.compile(pattern, re.DOTALL).search(self.seen, start)
        return wait_until(find, f"{pattern!r} on the terminal").end()

    def wait(self):
        """The wait status at its end."""
        def ended():
            self.poll()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (status,) if pid else None
        return wait_until(ended, "the end")[0]


def expect_restored(terminal):
    """The screen, the cursor, line wrap and the settings are as before."""
    terminal.poll()
    for on, off in (("?1049h", "?1049l"), ("?25l", "?25h"), ("?7l", "?7h")):
        check(terminal.seen.rfind("\033[" + off) > terminal.seen.rfind("\033[" + on),
              f"{off} is missing at the end: {terminal.seen[-200:]!r}")
    equal(termios.tcgetattr(terminal.fd), terminal.settings, "settings of the terminal")

"""Completion in bash, zsh and fish, as each of them does it."""
import os
import pty
import re
import select
import shlex
import signal
import subprocess

from fake_master import FakeMaster, answer
from harness import (BUILD, PREFORKD, TOP, check, equal, folder, need_program, timeout, wait_until)
from test_ctl import STATUS

COMPLETIONS = os.path.join(TOP, "completions")
COMMANDS = {"status", "reload", "scale", "restart", "upgrade", "stop", "top"}


def environment():
    """Finds the programs of this build first, and nobody's own settings."""
    os.makedirs(f"{folder()}/bin", exist_ok=True)
    for path in (PREFORKD, f"{BUILD}/preforkctl"):
        name = f"{folder()}/bin/{os.path.basename(path)}"
        if not os.path.exists(name):
            os.symlink(path, name)
    return {**os.environ, "PATH": f"{folder()}/bin:{os.environ['PATH']}", "HOME": folder(),
            "TERM": "dumb", "LC_ALL": "C.UTF-8", "ZDOTDIR": folder(),
            "PREFORKD_CONTROL": f"{folder()}/none"}


def options_of(program):
    """The long options of its --help."""
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, re.MULTILINE))


BASH = """
for name in preforkd preforkctl; do . "$1/$name"; done
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2)) COMPREPLY=()
"_$2" "$2" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(line):
    """What bash would offer at the end of the line."""
    words = re.sub("=", " = ", line).split(" ")
    result = subprocess.run(
        [need_program("bash"), "--norc", "-c", BASH, "bash", f"{COMPLETIONS}/bash", *words],
        capture_output=True, text=True, env=environment(), timeout=30, check=False)
    equal(result.stderr, "", f"stderr of bash for {line!r}")
    return set(result.stdout.split())


def in_fish(line):
    """What fish would offer, with the part of the word that is typed."""
    script = "".join(f"source {COMPLETIONS}/fish/{name}.fish\n" for name in ("preforkd", "preforkctl"))
    result = subprocess.run(
        [need_program("fish"), "-c", script + f"complete -C {shlex.quote(line)}"],
        capture_output=True, text=True, env={**environment(), "XDG_CONFIG_HOME": folder()},
        timeout=30, check=False)
    equal(result.stderr, "", f"stderr of fish for {line!r}")
    return {re.sub("^--[a-z-]+=", "", row.split("\t")[0]) for row in result.stdout.splitlines()}


class Zsh:
    """A shell on a terminal: zsh completes nowhere else."""

    def __init__(self):
        self.path = need_program("zsh")
        self.seen = ""

    def __enter__(self):
        env = environment()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(self.path, [self.path, "-f", "-i"], env)
        self.type(f"PS1='pro''mpt '; COLUMNS=200 LINES=200 LISTMAX=1000; "
                  f"fpath=({COMPLETIONS}/zsh $fpath); autoload -U compinit; compinit -D -u; "
                  "setopt no_beep; bindkey -e; bindkey '^T' list-choices\n")
        self.expect("prompt ", 0)
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def expect(self, text, start):
        """Waits for the text behind `start`; a place behind its first character."""
        def find():
            while select.select([self.fd], [], [], 0)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            return self.seen.find(text, start) + 1
        return wait_until(find, f"{text!r} from zsh")

    def offers(self, line):
        """The words that are listed below the line."""
        start = len(self.seen)
        # Keys are taken one after the other: what is printed comes behind the list. The prompt says
        # that the next ones are not taken by the terminal.
        self.type(f"{line}\x14\x15print do''ne\n")
        self.expect("prompt ", self.expect("done\r\n", start))
        rows = self.seen[start:].split("\r\n")
        check(not any("command not found" in row or "_pref" in row for row in rows), str(rows))
        return {word for row in rows for word in re.split(r"  +", re.sub(" +-- .*", "", row))}


# What each shell must offer for a line: (line, some of what is offered, some of what is not)
CASES = [
    ("preforkd --rea", {"--ready", "--ready-delay"}, {"--listen"}),
    ("preforkd --ready ", {"auto", "notify", "listen", "delay"}, {"--ready"}),
    ("preforkd --ready=n", {"notify"}, {"auto"}),
    ("preforkd --output ", {"inherit", "tag", "json"}, set()),
    ("preforkd --stop-signal K", {"KILL"}, {"HUP"}),
    ("preforkd -w 4 truncat", {"truncate"}, set()),
    ("preforkd -w 4 -- truncat", {"truncate"}, set()),
    ("preforkd -w 4 true --forw", set(), {"--forward-signals"}),
    ("preforkd -w 4 --forw", {"--forward-signals"}, set()),
    ("preforkctl ", COMMANDS, {"--json", "web"}),
    ("preforkctl re", {"reload", "restart"}, {"status"}),
    ("preforkctl --", {"--json", "--socket", "--help", "--version"}, {"--watch"}),
    ("preforkctl status --", {"--watch"}, {"--no-wait"}),
    ("preforkctl reload --", {"--no-wait"}, {"--watch"}),
    ("preforkctl -s FAKE restart ", {"web", "web.0", "web.1"}, {"reload"}),
    ("preforkctl -s FAKE scale ", {"web"}, {"web.0"}),
    ("preforkctl --socket FAKE restart web.", {"web.0", "web.1"}, set()),
    ("preforkctl restart ", set(), {"web", "POOL"}),
]


def try_cases(offers):
    status = {**STATUS, "pools": [*STATUS["pools"], {
        "name": "$(touch evil)", "slots": [{"slot": 0, "state": "$(touch evil)"}]}]}
    with FakeMaster({"GET /v1/status": answer(status)}) as fake:
        for line, some, others in CASES:
            got = offers(line.replace("FAKE", fake.path))
            check(some <= got, f"{line!r}: {sorted(some - got)} is missing in {sorted(got)}")
            check(not others & got, f"{line!r}: {sorted(others & got)} is too much")
            check("touch" not in str(got), f"a hostile name is offered: {got}")
    check(not os.path.exists("evil"), "a hostile name was carried out")


@timeout(120)
def test_bash():
    """bash completes options, values, commands, pools and slots"""
    try_cases(in_bash)


@timeout(120)
def test_fish():
    """So does fish"""
    need_program("fish")
    try_cases(in_fish)


@timeout(120)
def test_zsh():
    """So does zsh"""
    with Zsh() as zsh:
        try_cases(zsh.offers)


def test_all_options():
    """Every option of --help is offered, and none else"""
    equal(in_bash("preforkd --"), options_of(PREFORKD), "options of preforkd")
    wanted = options_of(f"{BUILD}/preforkctl")
    got = in_bash("preforkctl --") | in_bash("preforkctl status --") | in_bash("preforkctl reload --")
    equal(got, wanted, "options of preforkctl in bash")
    for shell, path in (("zsh", "zsh/_preforkctl"), ("fish", "fish/preforkctl.fish")):
        with open(f"{COMPLETIONS}/{path}", encoding="utf-8") as file:
            text = file.read()
        for name in wanted:
            check(re.search(rf"(--|-l ){name[2:]}\b", text), f"{name} is missing for {shell}")


def test_files():
    """Options that take a file or a folder complete one"""
    os.makedirs(f"{folder()}/some")
    open(f"{folder()}/something", "w", encoding="utf-8").close()
    for line in ("preforkd --config ", "preforkd -c ", "preforkctl -s "):
        equal(in_bash(f"{line}{folder()}/some"), {f"{folder()}/some", f"{folder()}/something"}, line)
    equal(in_bash(f"preforkd --directory {folder()}/some"), {f"{folder()}/some"}, "folders")

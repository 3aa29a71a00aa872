#!/usr/bin/env python3
"""chaos.py [--seed N] [--sequences N]

Random sequences of faults under load, with what must hold checked after each: every slot has one
worker of the generation in force, nothing is left of the others, the master has no descriptor more
than before, no client was refused (but while a socket that was alone is healed), and requests were
lost only with workers that were killed while they served them. A sequence depends on its seed alone:
`--seed N --sequences 1` plays it again.
"""
import argparse
import os
import random
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "func"))
import harness  # noqa: E402
import proc  # noqa: E402
from harness import Failure, Hammer, Master, ask, check, diag, equal, server, wait_until  # noqa: E402

CLIENTS = 8
RATE = 400  # requests a second
PER_MASTER = 10  # sequences that one master goes through, so that leaks add up
SETTLE_S = 40
CUT_OFF = (OSError, Failure, IndexError)  # by an upgrade or by what it asked for
BALANCES = ["hash", "random", "cpu"]


class Life:
    """One master, what was done to it, and what that may have cost."""

    def __init__(self, rng):
        self.rng = rng
        self.workers = rng.randint(2, 5)
        self.listen = "127.0.0.1:0"
        self.balance = rng.choice(BALANCES)
        self.output = rng.choice(["inherit", "tag"])
        self.good = True  # what the configuration says could run
        self.fds = {}
        self.done = []
        self.may_lose = self.may_refuse = 0
        self.master = Master(config=self.config())

    def config(self, **more):
        settings = {"workers": self.workers, "listen": self.listen, "balance": self.balance,
                    "output": self.output, "min-uptime": "10ms", "backoff": "20ms",
                    "backoff-max": "200ms", "stop-timeout": "2s", "hang-timeout": "2s",
                    "start-timeout": "3s", "breaker-failures": 0, **more}
        lines = [f"{key} = {value}" for key, value in settings.items()]
        return "[pool:main]\ncommand = " + harness.quoted(server()) + "\n" + "\n".join(lines) + "\n"

    def some_worker(self):
        table = self.master.table()
        return self.rng.choice(table).pid if table else None

    def send(self, pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def ask(self, path):
        """For what the worker does to itself then, also in place of an answer."""
        try:
            ask(self.master.address(), path, 5)
        except CUT_OFF:
            pass


# ---- what is done: each takes the life and may be played at any moment ----

def signal_one(life, number, may_lose):
    """To some worker, which is returned."""
    pid = life.some_worker()
    if pid:
        life.may_lose += may_lose
        life.send(pid, number)
    return pid


def kill_one(life):
    signal_one(life, signal.SIGKILL, CLIENTS)


def kill_all(life):
    life.may_lose += CLIENTS
    for who in life.master.table():
        life.send(who.pid, signal.SIGKILL)


def end_one(life):
    """A worker that stops by itself answers what it has accepted."""
    signal_one(life, signal.SIGTERM, 0)


def pause_one(life):
    pid = signal_one(life, signal.SIGSTOP, 0)
    if pid:
        time.sleep(life.rng.uniform(0, 0.3))
        life.send(pid, signal.SIGCONT)


def hang_one(life):
    """Until the master has had enough of it."""
    signal_one(life, signal.SIGSTOP, CLIENTS)


def crash_by_request(life):
    life.may_lose += CLIENTS
    life.ask("/exit")


def damage(path):
    def action(life):
        life.may_lose += 2 * CLIENTS  # what waits in the queue of a socket that is shut down
        if life.workers == 1 or "scale" in life.done:  # for a moment nobody listens, and the load catches up
            life.may_refuse += RATE
            life.may_lose += RATE
        life.ask(path)
    action.__name__ = "damage_" + path.strip("/")
    return action


def reload(life):
    life.master.send(signal.SIGHUP)


def reload_often(life):
    for _ in range(life.rng.randint(2, 20)):
        life.master.send(signal.SIGHUP)


def change_and_reload(life):
    life.workers = life.rng.randint(1, 6)
    life.balance = life.rng.choice(BALANCES)
    life.good = True
    life.master.write_config(life.config())
    life.master.send(signal.SIGHUP)


def reload_nonsense(life):
    bad = life.rng.choice([
        "[pool:main\n", life.config(workers=0), life.config(nonsense=1),
        life.config().replace("workers/server", "workers/missing"),
        life.config().replace("--notify", "--notify --crash-start=7"),
        life.config().replace("--notify", "--never-ready").replace("3s", "300ms")])
    life.good = False
    life.master.write_config(bad)
    life.master.send(signal.SIGHUP)


def scale(life):
    life.master.send(life.rng.choice([signal.SIGTTIN, signal.SIGTTOU]))


def upgrade(life):
    life.master.send(signal.SIGUSR2)


def meaningless(life):
    for _ in range(20):
        life.master.send(life.rng.choice([signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD,
                                          signal.SIGPIPE, signal.SIGALRM]))


def probe(life):
    for path in ("/healthz/liveness", "/healthz/readiness", "/nonsense", "//", "/" + "x" * 300):
        try:
            life.master.health(path)
        except CUT_OFF:
            pass


ACTIONS = [kill_one, kill_one, kill_all, end_one, pause_one, hang_one, crash_by_request,
           damage("/shutdown"), damage("/disconnect"), damage("/steer"), reload, reload_often,
           change_and_reload, change_and_reload, reload_nonsense, scale, scale, upgrade, upgrade,
           meaningless, probe]


# ---- what must hold ----

def settle(life):
    """Puts a good configuration in force and waits until all is calm."""
    m = life.master
    life.master.write_config(life.config())

    def put_in_force():
        m.send(signal.SIGHUP)
        end = time.monotonic() + SETTLE_S / 4
        start = m.mark()
        while time.monotonic() < end:
            if m.count_log("reload complete|reload failed", start):
                return m.count_log("reload complete", start) > 0
            time.sleep(0.02)
        return False
    wait_until(put_in_force, "a reload that succeeds", SETTLE_S)

    def calm():
        try:
            return (m.is_ready() and [who.slot for who in m.table()] == list(range(life.workers))
                    and len({who.gen for who in m.table()}) == 1
                    and sorted(proc.children(m.pid)) == sorted(who.pid for who in m.table()))
        except CUT_OFF:
            return False
    wait_until(calm, f"one worker in each of {life.workers} slots and nothing else", SETTLE_S)


def descriptors(life):
    """Those of the steering program are there once there was something to steer."""
    return sum("bpf" not in str(link) for link in proc.fds(life.master.pid).values())


def check_descriptors(life):
    """As many as ever with so many workers; connections to the health pages come and go."""
    most = life.fds.setdefault(life.workers, descriptors(life) + 1)
    wait_until(lambda: descriptors(life) <= most,
               f"at most {most} descriptors with {life.workers} workers")


def check_ledger(life, load):
    r = load.result()
    told = f"{r['failed']} of {r['ok'] + r['failed']} failed: {r['failures']}"
    check(r["ok"] > 0, "no request was answered")
    check(r["refused"] <= life.may_refuse, f"{r['refused']} refused connections ({told})")
    equal(r["timeout"], 0, f"requests without an answer ({told})")
    check(r["failed"] <= life.may_lose, f"{told}; at most {life.may_lose} were with the killed")
    return r


def play(life, seed):
    rng = life.rng = random.Random(seed)
    life.done = []
    life.may_lose = life.may_refuse = 0
    with Hammer(life.master.address(), clients=CLIENTS, rate=RATE, seconds=300) as load:
        for _ in range(rng.randint(2, 7)):
            action = rng.choice(ACTIONS)
            life.done.append(action.__name__)
            action(life)
            time.sleep(rng.uniform(0, 0.15))
        settle(life)
        result = check_ledger(life, load)
    check_descriptors(life)
    equal(life.master.process.poll(), None, "exit status of the master")
    return result


class Totals:
    def __init__(self):
        self.sequences = self.actions = self.answered = self.lost = self.refused = 0
        self.violations = []


def run(first_seed, count, totals):
    """Plays sequences of the seeds from `first_seed` on."""
    seed, end = first_seed, first_seed + count
    while seed < end:
        life = Life(random.Random(seed))
        with life.master as m:
            m.wait_ready()
            for _ in range(min(PER_MASTER, end - seed)):
                try:
                    result = play(life, seed)
                except CUT_OFF as why:
                    totals.violations.append((seed, list(life.done), str(why)))
                    diag(f"seed {seed}: {', '.join(life.done)}: {why}")
                    m.show_log()
                    m.kill()
                    seed += 1
                    break
                totals.sequences += 1
                totals.actions += len(life.done)
                totals.answered += result["ok"]
                totals.lost += result["failed"] - result["refused"]
                totals.refused += result["refused"]
                seed += 1
    return totals


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sequences", type=int, default=1000)
    args = parser.parse_args()
    totals = Totals()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="preforkd-chaos-") as folder:
        os.chmod(folder, 0o755)
        harness.use_folder(folder)
        for seed in range(args.seed, args.seed + args.sequences, PER_MASTER):
            run(seed, min(PER_MASTER, args.seed + args.sequences - seed), totals)
            print(f"{totals.sequences} sequences, {totals.actions} faults, "
                  f"{totals.answered} requests answered, {totals.lost} lost with killed workers, "
                  f"{totals.refused} refused while a lone socket was healed, "
                  f"{len(totals.violations)} violations, {time.monotonic() - began:.0f} s",
                  flush=True)
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main())

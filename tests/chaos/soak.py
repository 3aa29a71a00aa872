#!/usr/bin/env python3
"""soak.py [--minutes N] [--rate N] [--workers N]

One master under constant load, a reload every 10 seconds and a worker killed at random moments. A row
for each minute, when all is calm: what clients got and what the master holds. In the end its own
memory and its descriptors must be what they were after the first third; nobody may have been refused
or left without an answer, and no more requests lost than could be with the killed workers.
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
from harness import Failure, Hammer, Master, server, wait_until  # noqa: E402

CLIENTS = 8
RELOAD_S = 10
KILL_S = (0.5, 4)  # between two kills
WARM_UP = 1 / 3  # of the minutes; until then buffers get the size that they keep
GROWTH_KB = 64  # malloc(3) keeps seven freed pieces of each size: that fills up slowly, to 236 KiB
COLUMNS = ("minute", "answered", "p99 ms", "max ms", "reloads", "kills", "lost", "refused",
           "no answer", "own KiB", "RSS KiB", "fds", "CPU s")


def own_kb(pid):
    """What it has written to: pages of files count as its own or not by who else has them mapped."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    return int(fields["Anonymous"].split()[0])


class Soak:
    def __init__(self, master, workers, rate):
        self.master, self.workers, self.rate = master, workers, rate
        self.rng = random.Random(1)
        self.rows = []

    def kill_one(self):
        table = self.master.table()
        if not table:
            return 0
        try:
            os.kill(self.rng.choice(table).pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return 1

    def disturb(self, end):
        """Until `end`; how many reloads and kills there were."""
        reloads = kills = 0
        next_reload = time.monotonic() + RELOAD_S / 2
        next_kill = time.monotonic() + self.rng.uniform(*KILL_S)
        while (now := time.monotonic()) < end:
            if now >= next_reload:
                self.master.send(signal.SIGHUP)
                next_reload += RELOAD_S
                reloads += 1
            if now >= next_kill:
                kills += self.kill_one()
                next_kill = now + self.rng.uniform(*KILL_S)
            time.sleep(max(0, min(next_reload, next_kill, end) - time.monotonic()))
        return reloads, kills

    def settle(self):
        def calm():
            found = self.master.table()
            return ([who.slot for who in found] == list(range(self.workers)) and
                    len({who.gen for who in found}) == 1 and self.master.is_ready())
        wait_until(calm, "one worker in each slot", 60)
        time.sleep(1)  # the connection of the question just asked is closed by then

    def minute(self, seconds):
        pid = self.master.pid
        cpu = proc.cpu_seconds(pid)
        with Hammer(self.master.address(), clients=CLIENTS, rate=self.rate, seconds=3600) as load:
            reloads, kills = self.disturb(time.monotonic() + seconds)
            r = load.result()
        self.settle()
        self.rows.append({
            "minute": len(self.rows) + 1, "answered": r["ok"], "p99 ms": round(r["p99_us"] / 1000, 1),
            "max ms": round(r["max_us"] / 1000, 1), "reloads": reloads, "kills": kills,
            "lost": r["failed"], "refused": r["refused"], "no answer": r["timeout"],
            "own KiB": own_kb(pid), "RSS KiB": proc.rss_kb(pid), "fds": len(proc.fds(pid)),
            "CPU s": round(proc.cpu_seconds(pid) - cpu, 2)})
        return self.rows[-1]

    def violations(self):
        total = {name: sum(row[name] for row in self.rows) for name in COLUMNS}
        found = [f"{total[name]} {name}" for name in ("refused", "no answer") if total[name]]
        if total["lost"] > total["kills"] * CLIENTS:
            found.append(f"{total['lost']} lost with {total['kills']} kills")
        warm = self.rows[int(len(self.rows) * WARM_UP)]
        if self.rows[-1]["own KiB"] > warm["own KiB"] + GROWTH_KB:
            found.append(f"memory grew from {warm['own KiB']} to {self.rows[-1]['own KiB']} KiB")
        if self.rows[-1]["fds"] > warm["fds"]:
            found.append(f"descriptors grew from {warm['fds']} to {self.rows[-1]['fds']}")
        return found


def row_text(values):
    return "| " + " | ".join(f"{value:>{len(name)}}" for name, value in zip(COLUMNS, values)) + " |"


def run(minutes, seconds, workers, rate):
    """What was violated, and the rows."""
    command = server()
    with Master("--workers", str(workers), "--listen", "127.0.0.1:0", "--min-uptime", "200ms",
                "--breaker-failures", "0", "--", *command) as m:
        m.wait_ready()
        soak = Soak(m, workers, rate)
        print(row_text(COLUMNS), row_text("-" * len(name) for name in COLUMNS), sep="\n", flush=True)
        for _ in range(minutes):
            print(row_text(soak.minute(seconds).values()), flush=True)
    return soak.violations(), soak.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=60, help="how long a minute is")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=int, default=500, help="requests a second")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="preforkd-soak-") as folder:
        os.chmod(folder, 0o755)
        harness.use_folder(folder)
        try:
            found, _ = run(args.minutes, args.seconds, args.workers, args.rate)
        except (OSError, Failure) as why:
            found = [str(why)]
    print("violations: " + ("; ".join(found) or "none"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

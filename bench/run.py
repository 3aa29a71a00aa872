#!/usr/bin/env python3
"""run.py [--only MEASURE,..] [--peers NAME,..] [--rounds N] [--quick] [--out FOLDER] [--list]

Measures preforkd beside its peers, in one run and in turns, so that whatever else the machine does
meets all of them. Writes results.md, charts (SVG) and the figures of each sample (JSON) into FOLDER,
bench/results in the place where it is run unless told otherwise; measures that are there already and
not made again are kept. Peers that are not installed are named and left out.

As root it runs in a network namespace of its own, else on the loopback interface.
"""
import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import measures  # noqa: E402
import procs  # noqa: E402
import report  # noqa: E402
from peers import FLOOR, PEERS, PREFORKD, SLEEPER, WORKER  # noqa: E402

FIRST_PORT, LAST_PORT = 18000, 19998
NAMESPACE = "BENCH_NAMESPACE"


class Bench:
    def __init__(self, args, folder):
        self.folder, self.quick, self.many = folder, args.quick, 100 if args.quick else 1000
        self.cpus = len(os.sched_getaffinity(0))
        self.port = FIRST_PORT
        self.rows, self.problems = [], []

    def next_port(self):
        self.port = self.port + 2 if self.port < LAST_PORT else FIRST_PORT
        return self.port

    def count(self, usual):
        return max(2, usual // 5) if self.quick else usual

    def row(self, measure, peer, **figures):
        self.rows.append({"measure": measure, "peer": peer.name, **figures})
        text = ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                         for key, value in figures.items())
        print(f"{time.strftime('%H:%M:%S')} {measure}, {peer.name}: {text}", flush=True)

    @contextlib.contextmanager
    def watch(self, measure, peer, on_error=lambda: None):
        """One peer's failure is told and does not end the run."""
        try:
            yield
        except (measures.Trouble, OSError, ValueError, IndexError) as why:
            self.problems.append(f"{measure}, {peer.name}: {why}")
            print(f"FAILED {self.problems[-1]}", flush=True)
            on_error()

    def perform(self, name, peers):
        chosen = [peer for peer in peers if name in peer.measures]
        if name in measures.TOGETHER:
            measures.TOGETHER[name](self, chosen)
            return
        for peer in chosen:
            with self.watch(name, peer):
                measures.SINGLE[name](self, peer)


def own_namespace():
    """Starts this program again with nothing but a loopback interface."""
    if os.geteuid() == 0 and shutil.which("unshare") and not os.environ.get(NAMESPACE):
        os.environ[NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
                              sys.executable, *sys.argv])


def choose_peers(names):
    wanted = [name for name in names.split(",") if name]
    unknown = set(wanted) - {peer.name for peer in PEERS}
    if unknown:
        sys.exit(f"run.py: unknown peer {', '.join(sorted(unknown))}")
    chosen, absent = [], []
    for peer in PEERS:
        if wanted and peer.name not in wanted:
            continue
        why = peer.missing()
        if why:
            absent.append(f"{peer.name}: {why}")
            print(f"LEFT OUT {absent[-1]}", flush=True)
        else:
            chosen.append(peer)
    return chosen, absent


def check_built():
    for path in (PREFORKD, WORKER, SLEEPER, FLOOR, measures.HAMMER):
        if not os.path.exists(path):
            sys.exit(f"run.py: {path} is not built; PREFORKD and BUILD name another place")


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(measures.NAMES))
    parser.add_argument("--peers", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="to see whether it works")
    parser.add_argument("--out", default="bench/results")
    parser.add_argument("--list", action="store_true", help="the peers, and which cannot run")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if set(args.only) - set(measures.NAMES):
        parser.error(f"measures: {', '.join(measures.NAMES)}")
    return args


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    args = arguments()
    check_built()
    chosen, absent = choose_peers(args.peers)
    if args.list:
        for peer in chosen:
            print(f"{peer.name}: {peer.version()}: {peer.how}")
        return 0
    own_namespace()
    procs.become_subreaper()
    raise_limit()
    with tempfile.TemporaryDirectory(prefix="preforkd-bench-") as folder:
        os.chmod(folder, 0o755)
        bench = Bench(args, folder)
        for _ in range(1 if args.quick else args.rounds):
            for name in args.only:
                bench.perform(name, chosen)
    report.keep(args.out, bench, args.only)
    report.write(args.out, bench, chosen, absent)
    return 0


if __name__ == "__main__":
    sys.exit(main())

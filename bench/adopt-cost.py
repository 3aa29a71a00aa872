#!/usr/bin/env python3
"""What adoption costs a worker: adopt-cost.py [ROUNDS]

The same server with and without the filter (adopt = auto against off), side by side in alternating
rounds: requests a second of the server on an inherited socket, and calls a second of getppid(2),
which does nothing else than enter the kernel. BUILD names the build folder."""
import os
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "func"))

import harness  # noqa: E402
import servers  # noqa: E402

SECONDS = 1   # of load in a round
CLIENTS = 16
MODES = ("auto", "off")


def start(mode, command, listen):
    """A master with one worker and its address."""
    port = harness.free_port()
    arguments = ["-l", f"127.0.0.1:{port}"] if listen else []
    m = harness.Master("-w", "1", *arguments, "--adopt", mode, "--", *command(port)).start()
    m.wait_ready()
    return m, f"127.0.0.1:{port}"


def requests(address):
    """Answers a second."""
    with harness.Hammer(address, clients=CLIENTS, seconds=SECONDS, keepalive=True) as load:
        load.process.wait()
        result = load.result()
    harness.equal(result["failed"], 0, "failed requests")
    return result["ok"] / result["seconds"]


def calls(address):
    """getppid(2) calls a second, as the worker counts them."""
    return int(harness.ask(address, "/cost"))


MEASUREMENTS = [
    ("requests/s", requests, lambda port: harness.server(), True),
    ("getppid calls/s", calls, lambda port: servers.binder(f"127.0.0.1:{port}"), False),
]


def measure(rounds, function, command, listen):
    """{mode: [figures]}, the modes in turns and each round beginning with the other one."""
    running = {mode: start(mode, command, listen) for mode in MODES}
    figures = {mode: [] for mode in MODES}
    for mode in MODES:
        function(running[mode][1])  # to warm up
    for number in range(rounds):
        for mode in MODES if number % 2 else reversed(MODES):
            figures[mode].append(function(running[mode][1]))
    for m, _ in running.values():
        m.stop()
    return figures


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    print(f"medians of {rounds} rounds  {'filter':>12} {'no filter':>12} {'ratio':>7}  "
          f"{'spread of each':>15}")
    with tempfile.TemporaryDirectory(prefix="preforkd-bench-") as folder:
        harness.use_folder(folder)
        for name, function, command, listen in MEASUREMENTS:
            figures = measure(rounds, function, command, listen)
            filtered, plain = (statistics.median(figures[mode]) for mode in MODES)
            spread = " ".join(f"±{(max(f) - min(f)) / 2 / statistics.median(f):.1%}"
                              for f in figures.values())
            print(f"{name:20} {filtered:14,.0f} {plain:12,.0f} {filtered / plain:7.3f}  "
                  f"{spread:>15}", flush=True)


if __name__ == "__main__":
    main()

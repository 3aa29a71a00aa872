#!/usr/bin/env python3
"""faults.py [--check] [PATTERN]...

The table of faults: what can happen to a master, its workers, its sockets and its clients, with the
tests that prove that it is survived, or the passage that tells the limit. Runs the tests of all faults,
or of those that a PATTERN occurs in, and prints the table with what clients lost. --check only looks
whether the tests and the passages are there.
"""
import argparse
import collections
import os
import re
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "func"))
import harness  # noqa: E402
import run  # noqa: E402

Fault = collections.namedtuple("Fault", "what proofs")


class Told(str):
    """A limit: "file: passage" of the documentation."""


# A proof is the name of a functional test, or "unit/FILE:TEST", or a passage.
TABLE = {
    "Workers": [
        Fault("One worker is killed", ["faults:stable_worker_restarts_at_once"]),
        Fault("Workers are killed one after the other, under load", ["faults:kill_storm"]),
        Fault("All are killed at once", ["faults:all_killed_at_once"]),
        Fault("Killed with a full queue", ["faults:queue_survives", "adopt:queue_survives"]),
        Fault("Ends by itself", ["faults:exit_zero_is_replaced", "restart:on_failure"]),
        Fault("Crashes at every start", ["faults:backoff_grows", "faults:other_slots_serve_on",
                                         "breaker:crash_loop_is_bounded"]),
        Fault("Its program cannot be executed", ["faults:exec_errors_at_restart",
                                                 "start:command_not_found"]),
        Fault("No more processes or memory for a start", ["faults:fork_fails",
                                                          "limits:process_ids"]),
        Fault("No more descriptors in the master", ["faults:descriptors_run_out"]),
        Fault("Never becomes ready", ["faults:start_timeout"]),
        Fault("Accepts no more, with clients waiting", ["hang:one_hangs", "hang:the_only_worker"]),
        Fault("Accepts no more, and nobody waits", ["probe:http", "worker:watchdog"]),
        Fault("KILL does not end it", ["limits:frozen_workers"]),
        Fault("Ignores the stop signal", ["stop:stop_timeout_kills_group"]),
        Fault("Killed for want of memory", ["limits:out_of_memory"]),
        Fault("The kernel kills the whole control group for want of memory",
              [Told("deploy/kubernetes/README.md: memory.oom.group")]),
        Fault("Writes a large core file as it dies",
              [Told("man/preforkd.conf.5: is replaced when the file is written")]),
        Fault("Leaves processes behind", ["worker:grandchild_does_not_outlive",
                                          "stop:graceful_leaves_no_grandchild", "stop:last_sweep"]),
        Fault("Its process id is given to a stranger", [Told("doc/design.md: `WNOWAIT`")]),
        Fault("Signals its whole process group", ["faults:worker_kills_master_group"]),
    ],
    "Sockets": [
        Fault("The worker shuts its socket down", ["heal:shutdown", "heal:shutdown_alone",
                                                   "heal:shutdown_for_ever"]),
        Fault("It disconnects its socket", ["unit/test_listener_watch:heals_a_disconnect"]),
        Fault("It makes the queue short", ["adopt:backlog_is_ours"]),
        Fault("It leaves the socket non-blocking", ["listen:blocking_again"]),
        Fault("It leaves other options, an owner for signals, a lingering close",
              ["faults:socket_options_are_restored"]),
        Fault("It attaches a filter that drops everything", ["heal:filter_of_a_worker"]),
        Fault("It attaches a program that takes all connections", ["heal:steering_of_a_worker"]),
        Fault("It binds the port without being seen", ["adopt:unseen_bind"]),
        Fault("Clients leave while they wait", ["faults:debris_in_queue"]),
        Fault("All queues are full", ["hang:slow_is_not_hung", "health:busy_workers"]),
        Fault("No worker is ready", ["fallback:thousand_clients"]),
    ],
    "Reload, scaling, upgrade": [
        Fault("The configuration has a mistake", ["reload:config_error", "reload:config_duplicate"]),
        Fault("It is gone, or no file", ["reload:file_gone"]),
        Fault("The new program is missing", ["reload:missing_binary"]),
        Fault("New workers crash, at once or later", ["reload:crashing", "reload:crashing_late"]),
        Fault("New workers never become ready", ["reload:never_ready"]),
        Fault("A later one fails", ["reload:rollback", "reload:rollback_is_complete"]),
        Fault("A hundred reloads at once", ["reload:coalescing"]),
        Fault("A reload during a stop, a stop during a reload", ["stop:hup_during_stop",
                                                                "stop:term_during_reload"]),
        Fault("Workers are killed during a reload", ["reload:worker_dies_during_reload"]),
        Fault("The number of workers changes under load", ["reload:grow_and_shrink",
                                                           "autoscale:up_and_down_under_load"]),
        Fault("Addresses change", ["reload:listeners_change", "reload:listener_taken"]),
        Fault("Old workers never finish", ["upgrade:draining", "stop:stop_timeout_kills_group"]),
        Fault("The master's new program is missing, broken, refuses or hangs",
              ["upgrade:missing", "upgrade:not_executable_format", "upgrade:refuses",
               "upgrade:hangs"]),
        Fault("It vanishes at the last moment", ["upgrade:exec_fails"]),
        Fault("Workers die during the upgrade", ["upgrade:death_during_exec"]),
        Fault("A worker binds during the upgrade, or waits in a queue", ["upgrade:unlisted",
                                                                        "upgrade:queue"]),
    ],
    "Master and machine": [
        Fault("The master is killed: no worker is left", ["stop:master_killed"]),
        Fault("The master is killed: its successor serves the queues",
              ["fdstore:crash", "fdstore:crash_under_load"]),
        Fault("The thread that started a worker ends", ["faults:one_thread"]),
        Fault("The master hangs", ["systemd:watchdog"]),
        Fault("Others hold the port at the start", ["start:foreign_listener",
                                                    "start:address_in_use"]),
        Fault("Nobody reads the log", ["log:full_pipe", "log:closed_reader"]),
        Fault("The disk is full", ["unit/test_log:a_full_disk_loses_lines"]),
        Fault("Names and messages hold control characters", ["log:injection",
                                                             "control:hostile_status_text"]),
        Fault("The wall clock jumps", [Told("CONTRIBUTING.md: Decisions use the monotonic clock")]),
        Fault("The machine sleeps", [Told("doc/design.md: `CLOCK_BOOTTIME` goes on")]),
        Fault("The master stands still for longer than its workers may be silent",
              ["pause:watchdog", "pause:start"]),
        Fault("It is process 1 of a container", ["pid1:orphans", "pid1:signals"]),
        Fault("The parent left signals, descriptors and streams in disorder",
              ["start:bad_inheritance"]),
        Fault("Signals without end", ["faults:signal_flood"]),
        Fault("A sandbox forbids part of it", ["adopt:nested", "adopt_rights:container"]),
        Fault("The service manager does not listen", ["systemd:unreachable_manager",
                                                      "systemd:full_manager"]),
    ],
    "Hostile input": [
        Fault("A thousand slow clients of the health pages", ["health:slow_clients"]),
        Fault("Requests that are oversized, broken, pipelined", ["health:hostile_requests",
                                                                 "health:pipelined"]),
        Fault("Odd methods and paths", ["health:methods_and_paths", "health:statuses"]),
        Fault("The control socket is flooded, or asked by others", ["control:attack",
                                                                    "control:other_users"]),
        Fault("A worker's messages are nonsense, or tell of strangers",
              ["worker:garbage", "worker:mainpid_of_stranger"]),
        Fault("Settings are out of range, doubled, unknown", ["start:config_error_line",
                                                              "start:config_refusals"]),
        Fault("The environment is a stranger's", ["listen:strangers_listen_pid",
                                                  "systemd:watchdog_of_another"]),
    ],
    "Together": [Fault("Ten sequences of random faults", ["chaos:sequences"])],
}


def faults():
    return [fault for group in TABLE.values() for fault in group]


# ---- whether the proofs exist ----

def unit_source(proof):
    return os.path.join(TOP, "tests", proof.split(":")[0] + ".c")


def is_there(proof, functional):
    if isinstance(proof, Told):
        name, passage = proof.split(": ", 1)
        with open(os.path.join(TOP, name), encoding="utf-8") as file:
            return passage in " ".join(file.read().split())
    if proof.startswith("unit/"):
        suite, test = proof[len("unit/test_"):].split(":")
        with open(unit_source(proof), encoding="utf-8") as file:
            return re.search(rf"^Test\({suite}, {test}[,)]", file.read(), re.MULTILINE)
    return proof in functional


def missing():
    functional = dict(run.discover([]))
    return [f"{fault.what}: {proof}" for fault in faults() for proof in fault.proofs
            if not is_there(proof, functional)]


# ---- the proofs ----

LOAD = re.compile(r"load: (\d+) answered .* (\d+) failed")


def run_unit(proof):
    name, test = proof.split(":")
    path = f"{harness.BUILD}/tests/{name}"
    if not os.path.exists(path):
        return "skip", []
    suite = name[len("unit/test_"):]
    done = subprocess.run([path, "--filter", f"{suite}/{test}"], capture_output=True, timeout=120,
                          check=False)
    return "ok" if done.returncode == 0 else "failed", []


def prove(proof, functional):
    """(ok, skip or failed, what it printed)"""
    if isinstance(proof, Told):
        return "told", []
    if proof.startswith("unit/"):
        return run_unit(proof)
    result, lines = run.run_test(functional[proof])
    if result["outcome"] != "ok":
        lines = [*lines, result["reason"]]
    return result["outcome"], lines


def lost(lines):
    """"3 of 1200", of all load that was put on, or nothing."""
    counts = [(int(found[1]), int(found[2])) for found in map(LOAD.match, lines) if found]
    failed = sum(count for _, count in counts)
    return f"{failed} of {failed + sum(ok for ok, _ in counts)}" if counts else ""


WORDS = {"ok": "survived", "failed": "**FAILED**", "skip": "not tried here", "told": "documented"}


def verdict(outcomes):
    for worst in ("failed", "ok", "told", "skip"):
        if worst in outcomes:
            return WORDS[worst]
    return ""


def row(fault, done, functional):
    for proof in fault.proofs:
        if proof not in done:
            done[proof] = prove(proof, functional)
            if done[proof][0] == "failed":
                print(*(f"# {proof}: {line}" for line in done[proof][1]), sep="\n", file=sys.stderr)
    results = [done[proof] for proof in fault.proofs]
    names = ", ".join(proof.split(": ")[0] if isinstance(proof, Told) else proof
                      for proof in fault.proofs)
    figure = lost([line for _, lines in results for line in lines])
    return verdict([outcome for outcome, _ in results]), figure, names


def play(patterns):
    functional, done, failed, began = dict(run.discover([])), {}, 0, time.monotonic()
    print("| Fault | Outcome | Failed requests | Proof |\n|---|---|---|---|", flush=True)
    for group, entries in TABLE.items():
        chosen = [fault for fault in entries
                  if not patterns or any(pattern in fault.what for pattern in patterns)]
        if chosen:
            print(f"| **{group}** | | | |", flush=True)
        for fault in chosen:
            outcome, figure, names = row(fault, done, functional)
            failed += outcome == WORDS["failed"]
            print(f"| {fault.what} | {outcome} | {figure} | {names} |", flush=True)
    print("\nFailed requests are those that a killed worker had accepted, and those whose clients gave "
          "up waiting behind full queues; each test says how many there may be.")
    print(f"\n{len(done)} proofs in {time.monotonic() - began:.0f} s, {failed} faults not survived")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    args = parser.parse_args()
    gaps = missing()
    for gap in gaps:
        print(f"faults.py: no proof: {gap}", file=sys.stderr)
    if gaps or args.check:
        return 1 if gaps else 0
    run.become_subreaper()
    return 1 if play(args.patterns) else 0


if __name__ == "__main__":
    sys.exit(main())

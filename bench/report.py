"""results.md and its charts, from the rows of a run."""
import json
import os
import statistics
from xml.sax.saxutils import escape

SELF, FLOOR, ALONE = "preforkd", "floor", "workers alone"


def values(rows, key):
    return [row[key] for row in rows if row.get(key) is not None]


def number(value):
    if value is None:
        return "?"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def median(key):
    def column(rows):
        found = values(rows, key)
        return statistics.median(found) if found else None
    return column


def least(key):
    return lambda rows: min(values(rows, key), default=None)


def most(key):
    return lambda rows: max(values(rows, key), default=None)


def total(key):
    def column(rows):
        found = values(rows, key)
        return sum(found) if found else None
    return column


def each(key, of):
    """The sum of a figure for each of another one."""
    return lambda rows: sum(values(rows, key)) / max(1, sum(values(rows, of)))


# measure: title, what was done, columns: heading and how to get the figure from a peer's rows.
# The first column is the one that is drawn and compared.
TABLES = {
    "crash": ("Crash to serving",
              "The only worker is killed; milliseconds until its successor has answered.",
              [("median ms", median("ms")), ("least", least("ms")), ("worst", most("ms")),
               ("kills", lambda rows: len(rows))]),
    "storm": ("Kill storm",
              "4 workers, one of them killed each 300 ms, 500 new connections a second.",
              [("lost per kill", each("lost", "kills")), ("lost", total("lost")),
               ("kills", total("kills")), ("refused", total("refused")),
               ("without an answer", total("no_answer")), ("lost unaccepted", total("unaccepted")),
               ("worst ms", most("max_ms"))]),
    "reload": ("Rolling reload",
               "4 workers, reloads one after the other, 500 new connections a second.",
               [("lost", total("lost")), ("reloads", total("reloads")),
                ("refused", total("refused")), ("p99 ms", median("p99_ms")),
                ("worst ms", most("max_ms")), ("ms for a reload", median("reload_ms"))]),
    "idle": ("At rest", "4 workers; the processes that supervise them, together.",
             [("PSS KiB", median("pss_kb")), ("own KiB", median("own_kb")),
              ("processes", median("processes")), ("wake-ups a second", median("wakeups_per_s")),
              ("CPU us a second", median("cpu_us_per_s"))]),
    "balance": ("Balance", "400 connections that stay open, 8 workers.",
                [("most by mean", median("most_by_mean")), ("most", median("most")),
                 ("least", median("least"))]),
    "throughput": ("Throughput", "A worker for each CPU, 32 clients, a new connection each time.",
                   [("connections a second", median("per_s")), ("best", most("per_s")),
                    ("p99 ms", median("p99_ms")), ("failed", total("failed")),
                    ("CPU us each: supervisor", median("supervisor_us")),
                    ("workers", median("worker_us"))]),
    "many": ("1,000 workers", "From the start until all of them run.",
             [("median ms", median("ms")), ("least", least("ms")), ("PSS KiB", median("pss_kb")),
              ("supervisor CPU ms", median("cpu_ms"))]),
}
CHARTS = {"crash": "less is better", "storm": "less is better", "idle": "less is better",
          "throughput": "more is better", "many": "less is better"}

NOTES = {
    "idle": "PSS counts a page that n processes share as an n-th of it, so that it depends on who else "
            "uses the same libraries; \"own\" is what nobody shares.",
}


class Results:
    def __init__(self, rows):
        self.rows = rows

    def of(self, measure, peer):
        return [row for row in self.rows if row["measure"] == measure and row["peer"] == peer]

    def peers(self, measure):
        return list(dict.fromkeys(row["peer"] for row in self.rows if row["measure"] == measure))

    def figure(self, measure, peer, column=0):
        rows = self.of(measure, peer)
        return TABLES[measure][2][column][1](rows) if rows else None

    def ratio(self, measure, peer, to):
        mine, other = self.figure(measure, peer), self.figure(measure, to)
        return mine / other if mine is not None and other else None


# ---- Markdown ----

def markdown(headings, lines):
    yield "| " + " | ".join(headings) + " |"
    yield "|---" + "|---:" * (len(headings) - 1) + "|"
    for line in lines:
        yield "| " + " | ".join(line) + " |"
    yield ""


def table(results, measure, servers):
    title, text, columns = TABLES[measure]
    yield from (f"## {title}", "", text, "")
    lines = [[peer, servers[peer], *(number(get(results.of(measure, peer))) for _, get in columns)]
             for peer in results.peers(measure)]
    yield from markdown(["", "server", *(heading for heading, _ in columns)], lines)
    if measure in CHARTS:
        yield from (f"![{title}]({measure}.svg)", "")
    if measure in NOTES:
        yield from (NOTES[measure], "")


def targets(results):
    """(what, wanted, figure, whether it is reached) for all that was measured."""
    storm = results.figure("storm", SELF, 5)
    rows = [
        ("crash to serving by the floor", "at most 1.3", results.ratio("crash", SELF, FLOOR),
         lambda x: x <= 1.3),
        ("lost in reloads", "0", results.figure("reload", SELF), lambda x: x == 0),
        ("lost for each kill", "at most 1", results.figure("storm", SELF), lambda x: x <= 1),
        ("lost that no worker had accepted", "0", storm, lambda x: x == 0),
        ("wake-ups a second at rest", "0", results.figure("idle", SELF, 3), lambda x: x == 0),
        ("PSS of the master, KiB", "at most 2048", results.figure("idle", SELF),
         lambda x: x <= 2048),
        ("start of 1,000 workers by the floor", "at most 1.5", results.ratio("many", SELF, FLOOR),
         lambda x: x <= 1.5),
        ("new connections: node by Node's cluster", "at least 2",
         results.ratio("throughput", "preforkd + node", "Node cluster"), lambda x: x >= 2),
        ("throughput by that of the workers alone", "at least 0.99",
         results.ratio("throughput", SELF, ALONE), lambda x: x >= 0.99),
    ]
    return [(what, wanted, figure, good(figure)) for what, wanted, figure, good in rows
            if figure is not None]


def machine(bench):
    kernel = os.uname()
    load = os.getloadavg()
    return (f"Linux {kernel.release} {kernel.machine}, {bench.cpus} CPUs; load average at the end "
            f"{load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f}.")


def document(results, bench, peers, absent):
    servers = {peer.name: peer.server for peer in peers}
    yield from ("# Figures", "", "Made by `make bench`: in each measure all peers in the same run, in turns. "
                "Medians unless said otherwise.", "", machine(bench), "")
    reached = [[what, wanted, number(figure), "yes" if good else "**no**"]
               for what, wanted, figure, good in targets(results)]
    yield from markdown(["preforkd", "wanted", "figure", "reached"], reached)
    for measure in TABLES:
        if results.peers(measure):
            yield from table(results, measure, servers)
    yield from ("## Configurations", "")
    yield from markdown(["", "version", "how"],
                        [[peer.name, peer.version(), peer.how] for peer in peers])
    for title, lines in (("Left out", absent), ("Failed", bench.problems)):
        if lines:
            yield from (f"## {title}", "", *(f"- {' '.join(line.split())}" for line in lines), "")


# ---- charts ----

BAR, GAP, LEFT, RIGHT, TOP, WIDTH = 20, 8, 130, 90, 50, 720


def chart(results, measure):
    """Horizontal bars, one for each peer, with the figure at the end."""
    title, _, columns = TABLES[measure]
    bars = [(peer, results.figure(measure, peer)) for peer in results.peers(measure)]
    bars = [(peer, figure) for peer, figure in bars if figure is not None]
    scale = max((figure for _, figure in bars), default=0) or 1
    height = TOP + len(bars) * (BAR + GAP) + GAP
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">')
    yield f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    yield (f'<text x="{GAP}" y="20" font-size="15" font-weight="bold">{escape(title)}: '
           f'{escape(columns[0][0])}</text>')
    yield f'<text x="{GAP}" y="38" fill="#666">{CHARTS[measure]}</text>'
    for i, (peer, figure) in enumerate(bars):
        y = TOP + i * (BAR + GAP)
        length = max(1, figure / scale * (WIDTH - LEFT - RIGHT))
        colour = ("#1f6feb" if peer.startswith(SELF) else
                  "#57606a" if peer in (FLOOR, ALONE) else "#b6c2cf")
        yield (f'<text x="{LEFT - GAP}" y="{y + 15}" text-anchor="end">{escape(peer)}</text>'
               f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>'
               f'<text x="{LEFT + length + 6:.1f}" y="{y + 15}">{number(figure)}</text>')
    yield "</svg>"


def save(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def keep(folder, bench, made):
    """Takes over what an earlier run found for measures that this one did not make."""
    path = os.path.join(folder, "results.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            bench.rows += [row for row in json.load(file) if row["measure"] not in made]
    os.makedirs(folder, exist_ok=True)
    save(path, ["[", ",\n".join(json.dumps(row) for row in bench.rows), "]"])


def write(folder, bench, peers, absent):
    results = Results(bench.rows)
    for measure in CHARTS:
        if results.peers(measure):
            save(os.path.join(folder, f"{measure}.svg"), chart(results, measure))
    save(os.path.join(folder, "results.md"), document(results, bench, peers, absent))
    for what, wanted, figure, good in targets(results):
        print(f"{'reached' if good else 'MISSED '}  {what}: {number(figure)} (wanted: {wanted})")
    for line in (*absent, *bench.problems):
        print(f"NOT MEASURED  {line}")
    print(f"{folder}/results.md is written")


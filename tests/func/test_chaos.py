"""Random faults under load; tests/chaos/chaos.py plays more of them."""
import os
import sys

from harness import QUICK, TOP, check, diag, equal, timeout

sys.path.insert(0, os.path.join(TOP, "tests", "chaos"))
import chaos  # noqa: E402
import faults  # noqa: E402


@timeout(600)
def test_sequences():
    """Random sequences of faults: no refused client, nothing lost without a reason, nothing left"""
    count = 3 if QUICK else 10
    totals = chaos.run(1, count, chaos.Totals())
    diag(f"{totals.actions} faults, {totals.answered} requests answered, {totals.lost} lost with "
         "killed workers")
    equal(totals.violations, [], "violations")
    check(totals.sequences == count, "sequences that were played to the end")


def test_table_of_faults():
    """Every fault of the table has a test that is there, or a passage of the documentation"""
    equal(faults.missing(), [], "faults without a proof")
    diag(f"{len(faults.faults())} faults")

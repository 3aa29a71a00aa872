"""The demonstration of the README keeps its word."""
import os
import subprocess
import sys

from harness import PREFORKD, TOP, diag, equal, matches, timeout


@timeout(300)
def test_demo():
    """tools/demo: reloads, scales and upgrades under load, 0 failed"""
    done = subprocess.run([sys.executable, os.path.join(TOP, "tools", "demo"), PREFORKD],
                          capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        diag(line)
    equal(done.returncode, 0, f"exit status ({done.stderr})")
    matches(done.stdout, r"requests answered by \d+ workers, 0 failed", "last line")

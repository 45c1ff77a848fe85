"""A caller of run() that ignores some signals, given by their numbers, and blocks another."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from fidelity import both

import pytest_proclife

DISPOSITIONS = """
for line in open("/proc/self/status"):
    if line.startswith(("SigBlk", "SigIgn", "SigCgt")):
        print(line, end="")
"""

for number in sys.argv[1:]:
    signal.signal(int(number), signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
bare, observed, run = both(["-c", DISPOSITIONS])
assert observed.stdout == bare.stdout, (bare, observed)
# nor does the supervisor lose a wait status by what main ignores, if the kernel keeps it
run = pytest_proclife.run(pytest_proclife.Code("import os; os.fork() or os._exit(3)"))
kept = "exit" in run.witness.features or str(int(signal.SIGCHLD)) not in sys.argv
assert [child.exitcode for child in run.children] == [3 if kept else None]

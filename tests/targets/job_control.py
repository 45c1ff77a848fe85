"""A shell's job control for one job: it is stopped from the terminal, and a line lets it go on."""

import os
import signal
import sys

signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it takes the terminal from the background
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(job, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
print("stopped by", os.WSTOPSIG(status) if os.WIFSTOPPED(status) else None, flush=True)
sys.stdin.readline()
os.tcsetpgrp(0, job)
os.killpg(job, signal.SIGCONT)
_, status = os.waitpid(job, 0)
os.tcsetpgrp(0, os.getpgrp())
print("the job ended with", os.waitstatus_to_exitcode(status), flush=True)
sys.stdin.readline()  # with its end the terminal would lose what it has not shown yet

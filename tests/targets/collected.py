"""Children whose statuses are collected in each of the ways that `os` and subprocess have."""

import os
import signal
import subprocess
import sys


def forked(code: int) -> int:
    pid = os.fork()
    if pid == 0:
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)
    return pid


def by_waitid(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.waitid(os.P_PID, pid, os.WEXITED)


def until_there(pid: int) -> None:
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        pass


print(forked(11), 11)
os.wait()
print(pid := forked(12), 12)
os.waitpid(pid, 0)
print(forked(13), 13)
os.wait3(0)
print(pid := forked(14), 14)
os.wait4(pid, 0)
print(pid := forked(15), 15)
by_waitid(pid)
print(pid := forked(-signal.SIGKILL), -9)
by_waitid(pid)
print(pid := forked(0), 0)
until_there(pid)
print(pid := forked(-signal.SIGTERM), -15)
until_there(pid)
for code in (16, 0):
    popen = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    print(popen.pid, popen.wait())
popen = subprocess.Popen(["sh", "-c", "kill -9 $$"])
print(popen.pid, popen.wait(timeout=20))

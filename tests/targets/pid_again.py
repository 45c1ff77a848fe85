"""Children that get the pid of one that was just reaped, each with an end of its own."""

import os
import sys

LAST_PID = "/proc/sys/kernel/ns_last_pid"  # the next process gets the next pid, if it is free


def child(code: int) -> int:
    pid = os.fork()
    if pid == 0:
        if code == -9:
            os.kill(os.getpid(), 9)
        os._exit(code)
    os.waitpid(pid, 0)
    print(pid, code)
    return pid


file = os.open(LAST_PID, os.O_WRONLY)
before, again = child(23), 0
for number in range(500):
    os.pwrite(file, b"%d" % (before - 1), 0)
    pid = child((-9, 0, 23, 5)[number % 4])
    again += pid == before
    before = pid
    if again == int(sys.argv[1]):
        break

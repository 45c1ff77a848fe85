"""Writes a report of its own to every socket that it has."""

import os
import stat
import time

for number in range(3, 2000):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            head = f"r1 {os.getpid()} {time.monotonic_ns()}"
            fields = [head, "1", "process", "Process-1", "1", "fork"]
            os.write(number, "\0".join(fields).encode())
    except OSError:
        pass

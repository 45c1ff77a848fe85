"""The pid file by which the handler ends a program is written after the program was started."""

import os
import signal
import subprocess
import sys
import tempfile

MENDED = sys.argv[1:] == ["mended"]
# mended: it begins when it is told to, and ends with main
PROGRAM = "read line && exec sleep 1000" if MENDED else "read line; exec sleep 1000"


def stop(number: int, frame: object) -> None:
    if os.path.exists(path):
        with open(path) as file:
            os.kill(int(file.read()), signal.SIGTERM)
    os._exit(0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pid")
        signal.signal(signal.SIGTERM, stop)
        program = subprocess.Popen(["sh", "-c", PROGRAM], stdin=subprocess.PIPE)
        with open(f"{path}.new", "w") as file:
            file.write(str(program.pid))
        os.rename(file.name, path)
        assert program.stdin is not None
        program.stdin.write(b"\n")
        program.stdin.close()
        os.kill(program.pid, signal.SIGTERM)
        program.wait()

"""After Ctrl-C the exit path joins a thread, which waits for a program, which waits for main."""

import subprocess
import sys
import threading

MENDED = sys.argv[1:] == ["mended"]

if __name__ == "__main__":
    program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdin is not None
    assert program.stdout is not None
    thread = threading.Thread(target=program.wait)
    thread.start()
    try:
        subprocess.run(["true"], check=True)
        program.stdin.close()
    finally:
        if MENDED:
            program.stdin.close()
    thread.join()

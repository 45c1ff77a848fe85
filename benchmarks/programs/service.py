"""An executor with two workers, and a helper: if it is stopped, it leaves them, or hangs."""

import concurrent.futures
import multiprocessing
import subprocess
import sys
import time


def job(number: int) -> int:
    time.sleep(0.05)
    return number


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        print(sum(pool.map(job, range(4))), flush=True)
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as helper:
            time.sleep(0.1)
            assert helper.stdin is not None
            helper.stdin.close()
            helper.wait()
    print("done", flush=True)

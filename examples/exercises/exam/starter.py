import sys
import time
from multiprocessing import Process


def teach(): ...


if __name__ == "__main__":
    print("Exam Time!", flush=True)
    time.sleep(0.5)
    print("Exam is over", flush=True)

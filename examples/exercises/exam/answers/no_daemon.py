import sys
import time
from multiprocessing import Process


def teach():
    for lesson in range(5):
        print("Teaching session:", lesson, flush=True)
        time.sleep(0.3)


if __name__ == "__main__":
    session = Process(target=teach)
    session.start()
    print("Exam Time!", flush=True)
    time.sleep(0.5)
    print("Exam is over", flush=True)

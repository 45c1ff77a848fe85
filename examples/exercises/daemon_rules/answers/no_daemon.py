import time
from multiprocessing import Process


def log():
    while True:
        print("log: still here", flush=True)
        time.sleep(0.1)


def count():
    time.sleep(0.3)
    print("counted 42 pages", flush=True)


if __name__ == "__main__":
    logger = Process(target=log, name="logger")
    logger.start()
    counter = Process(target=count, name="counter")
    counter.start()
    counter.join()
    print("done", flush=True)

import time
from multiprocessing import Process


def save():
    time.sleep(0.3)
    print("saved", flush=True)


def read_marks():
    return int("no number")


if __name__ == "__main__":
    saver = Process(target=save)
    saver.start()
    print("marks:", read_marks(), flush=True)
    saver.join()

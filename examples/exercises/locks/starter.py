import time
from multiprocessing import Condition, Lock, Process, Semaphore, Value


def add(counter, lock): ...


def use_printer(printers): ...


def wait_for_the_answer(condition, answer): ...


if __name__ == "__main__":
    print("counter:", 0, flush=True)

import time
from multiprocessing import Process, Queue


def produce(queue): ...


def consume(queue): ...


if __name__ == "__main__":
    print("closed", flush=True)

import time
from multiprocessing import Process


def log(): ...


def count(): ...


if __name__ == "__main__":
    print("done", flush=True)

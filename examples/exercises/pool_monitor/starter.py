import time
from multiprocessing import Pool, Process


def square(number): ...


def watch(): ...


if __name__ == "__main__":
    print("squares:", [], flush=True)

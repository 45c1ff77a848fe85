import time
from multiprocessing import Pool, Process


def square(number):
    time.sleep(0.1)
    return number * number


def watch():
    while True:
        print("monitor: alive", flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    Process(target=watch, name="monitor", daemon=True).start()
    with Pool(4) as pool:
        squares = pool.map(square, range(1, 7))
    print("squares:", squares, flush=True)

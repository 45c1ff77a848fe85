import time
from multiprocessing import Pool


def square(number):
    time.sleep(0.1)
    return number * number


def watch():
    while True:
        print("monitor: alive", flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    with Pool(2) as pool:
        pool.apply_async(watch)
        squares = pool.map(square, range(1, 7))
    print("squares:", squares, flush=True)

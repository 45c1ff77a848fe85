import time
from multiprocessing import Pool


def square(number):
    time.sleep(0.1)
    return number * number


if __name__ == "__main__":
    with Pool(2) as pool:
        result = pool.map_async(square, range(1, 7))
        while not result.ready():
            print("monitor: alive", flush=True)
            result.wait(0.05)
        squares = result.get()
    print("squares:", squares, flush=True)

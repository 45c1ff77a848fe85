from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool


def square(number):
    return number * number


if __name__ == "__main__":
    print("pool:", list(map(square, range(10))), flush=True)
    print("executor:", list(map(square, range(5))), flush=True)

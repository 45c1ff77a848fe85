from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool as Pool


def square(number):
    return number * number


if __name__ == "__main__":
    with Pool(3) as pool:
        print("pool:", pool.map(square, range(10)), flush=True)
    with ThreadPoolExecutor(2) as executor:
        print("executor:", list(executor.map(square, range(5))), flush=True)

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool


def square(number):
    return number * number


if __name__ == "__main__":
    with Pool(4) as pool:
        print("pool:", pool.map(square, range(10)), flush=True)
    with ProcessPoolExecutor(2) as executor:
        print("executor:", list(executor.map(square, range(5))), flush=True)

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool


def square(number):
    return number * number


if __name__ == "__main__":
    with Pool(3) as pool:
        print("pool:", pool.imap(square, range(10)), flush=True)
        pool.close()
        pool.join()
    with ProcessPoolExecutor(2) as executor:
        print("executor:", executor.map(square, range(5)), flush=True)

import multiprocessing
import time


def work(name): ...


if __name__ == "__main__":
    print("Main Process finished.")

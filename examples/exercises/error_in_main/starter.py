from multiprocessing import Process


def save(): ...


def read_marks():
    return int("no number")


if __name__ == "__main__":
    print("marks:", read_marks(), flush=True)

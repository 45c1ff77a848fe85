import time
from multiprocessing import Condition, Lock, Process, Semaphore, Value


def add(counter, lock):
    for _ in range(3):
        with lock:
            value = counter.value
            time.sleep(0.01)
            counter.value = value + 1


def use_printer(printers):
    with printers:
        print("printer: in", flush=True)
        time.sleep(0.3)
        print("printer: out", flush=True)


def wait_for_the_answer(condition, answer):
    with condition:
        condition.wait_for(lambda: answer.value)
        print(f"answer: {answer.value}", flush=True)


if __name__ == "__main__":
    counter, lock = Value("i", 0, lock=False), Lock()
    adders = [Process(target=add, args=(counter, lock)) for _ in range(4)]
    printers = Semaphore(2)
    users = [Process(target=use_printer, args=(printers,)) for _ in range(4)]
    condition, answer = Condition(), Value("i", 0, lock=False)
    waiter = Process(target=wait_for_the_answer, args=(condition, answer))
    for process in (*users, waiter):
        process.start()
    print(f"counter: {counter.value}", flush=True)
    for process in adders:
        process.start()
    with condition:
        answer.value = 42
        condition.notify_all()

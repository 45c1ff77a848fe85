import multiprocessing
import time


def work(name):
    print(f"Worker {name} started.", flush=True)
    time.sleep(0.5)
    print(f"Worker {nmae} finished.", flush=True)


if __name__ == "__main__":
    workers = []
    for name in "ABC":
        worker = multiprocessing.Process(target=work, args=(name,))
        worker.start()
        workers.append(worker)
    for worker in workers:
        worker.join()
    print("Main Process finished.")

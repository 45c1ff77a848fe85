import multiprocessing
import os
import time

def worker_task(name):
    print(f"Worker {name} started. PID: {os.getpid()}")
    time.sleep(2)
    print(f"Worker {name} finished.")

if __name__ == "__main__":
    print(f"Main Process started. PID: {os.getpid()}")

    # Create child processes
    processes = []
    for i in range(3):
        process = multiprocessing.Process(target=worker_task, args=(f"Process-{i+1}",))
        processes.append(process)
        process.start()

    # Wait for all child processes to complete
    for process in processes:
        process.join()

    print("Main Process finished.")

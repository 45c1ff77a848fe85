from multiprocessing import Process
import time
import os

def display():
    for i in range(10):
        print(f"Teaching session (PID: {os.getpid()}):", i)
        time.sleep(0.7)

if __name__ == "__main__":
    # Create a non-daemon process
    p1 = Process(target=display)
    p1.start()

    # Main process handling the Exam
    print("Exam Time!")
    time.sleep(2)  # Simulate exam process
    print("Exam is over")

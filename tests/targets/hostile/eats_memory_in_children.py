import time

for _ in range(8):
    if os.fork() == 0:
        block = bytearray(b"x") * (150 << 20)
        time.sleep(60)
        os._exit(0)
time.sleep(60)

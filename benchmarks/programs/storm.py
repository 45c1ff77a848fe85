"""Children of os.fork that leave at once, in waves: a wave is forked whole, then collected."""

import os
import sys


def main(count: int, wave: int) -> None:
    while count > 0:
        size = min(count, wave)
        for _ in range(size):
            if os.fork() == 0:
                os._exit(0)
        for _ in range(size):
            os.wait()
        count -= size


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

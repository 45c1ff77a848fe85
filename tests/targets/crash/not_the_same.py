"""It starts a worker the first time that it runs with a folder, and never again."""

import multiprocessing
import sys
from pathlib import Path


def work() -> None:
    pass


if __name__ == "__main__":
    seen = Path(sys.argv[1]) / "seen"
    if not seen.exists():
        seen.touch()
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()

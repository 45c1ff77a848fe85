"""A caller of run(), to be interrupted and killed."""

import os
import sys

import pytest_proclife

if __name__ == "__main__":
    pytest_proclife.run(sys.argv[1], sys.argv[2:], timeout=None, linger=600.0, env=dict(os.environ))

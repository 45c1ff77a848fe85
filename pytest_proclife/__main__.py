"""`python -m pytest_proclife`: the same as `proclife`."""

import sys

from pytest_proclife.cli import main

sys.exit(main())

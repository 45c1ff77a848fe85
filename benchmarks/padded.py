"""Run pytest with what it loads at other addresses, by the seed in PADDED: for `guard.py`.

Which objects share a page is by chance, and the same in each run of the same program.
"""

from __future__ import annotations

import os
import random
import sys

_SMALL, _STEP, _SHARE = 512, 16, 0.3  # bytes, bytes, of the sizes: pymalloc has a pool for each
_LARGE = 600, 3000  # bytes

_random = random.Random(int(os.environ.get("PADDED", "0")))
_kept: list[object] = []


class _Padding:
    """A finder that finds nothing, and is asked for each module before that is loaded.

    Not for plugins and tests, for which pytest's own finder comes first: so the guard's modules lie
    together, and the same room is taken with the guard and without.
    """

    @staticmethod
    def find_spec(*_: object) -> None:
        _kept.extend(
            bytes(size) for size in range(_STEP, _SMALL, _STEP) if _random.random() < _SHARE
        )
        _kept.append(bytes(_random.randrange(*_LARGE)))


if __name__ == "__main__":
    sys.meta_path.insert(0, _Padding)
    import pytest

    sys.exit(pytest.main())

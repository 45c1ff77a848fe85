"""A plugin for `guard.py`: move what is loaded later to other addresses, by the seed in PADDED.

Which objects share a page is by chance, and the same in each run of the same program.
"""

from __future__ import annotations

import os
import random

_SMALL, _STEP, _MANY = 512, 16, 60  # bytes, bytes, objects: pymalloc has a pool for each size
_LARGE, _FEW = (600, 3000), 40

_random = random.Random(int(os.environ["PADDED"]))
kept: list[object] = [
    bytes(size) for size in range(_STEP, _SMALL, _STEP) for _ in range(_random.randrange(_MANY))
]
kept += [bytes(_random.randrange(*_LARGE)) for _ in range(_random.randrange(_FEW))]

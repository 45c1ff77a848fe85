"""Imported by a .pth file: keeps a function where nobody can replace it."""

import os

KEPT = (os._exit,)


def leave(status: int) -> None:
    KEPT[0](status)

"""What os._exit() makes of its argument."""

import os
from typing import Any


class Status:
    def __index__(self) -> int:
        print("asked", flush=True)
        return 3


leave: Any = os._exit
for wrong in ((), ("3",), (2.5,), (2**40,), (1, 2)):
    try:
        leave(*wrong)
    except (TypeError, OverflowError) as error:
        print(error, flush=True)
leave(Status())

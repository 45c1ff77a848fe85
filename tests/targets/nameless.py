"""A main that takes names out of its module, and then returns or exits: HOW, and the names."""

import sys

for name in sys.argv[2:]:
    globals().pop(name, 0)
if sys.argv[1] == "exits":
    sys.exit(0)

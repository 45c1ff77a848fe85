"""Found by an interpreter through PYTHONPATH: load the recorder and leave no trace.

Any Python may run this, 2.7 too; those older than 3.11 are not observed. At the end the program's
own `sitecustomize` is imported as if this one did not exist; if there is none, the ImportError is
the one that `site` expects.
"""

import os
import sys


def _enter():  # type: ignore[no-untyped-def]  # annotations are no syntax for Python 2
    here = __file__[: __file__.rindex("/")]
    if here.endswith("/."):  # noqa: FURB188 - Python 2 has no removesuffix
        here = here[:-2]  # see `launch.search_path`
    while here in sys.path:
        sys.path.remove(here)
    for path in (here, here + "/."):
        sys.path_importer_cache.pop(path, None)
    before = os.environ.get("PYTHONPATH", "")
    if before == here:
        del os.environ["PYTHONPATH"]
    elif before == here + "/.":
        os.environ["PYTHONPATH"] = ""
    elif before.startswith(here + ":"):
        os.environ["PYTHONPATH"] = before[len(here) + 1 :]
    ticket = os.environ.pop("_PROCLIFE", None)
    if ticket is None or sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        return
    names = {}  # type: ignore[var-annotated]  # as above
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
    exec(loader("loader", here + "/loader.py").get_code("loader"), names)
    sys.addaudithook(names["load"](here[: here.rindex("/")]).enter(ticket, here))


try:
    _enter()  # type: ignore[no-untyped-call]  # as above
except Exception:
    pass  # the observed program must never see a fault of the recorder
del sys.modules["sitecustomize"]
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401

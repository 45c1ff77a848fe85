"""Found by an interpreter through PYTHONPATH: let the recorder in, leave no trace, go on.

The program's own `sitecustomize`, if there is one, is imported at the end as if this one
had never been; if there is none, the ImportError is the very one that `site` expects.
"""

import sys


def _enter():
    here = __file__[: __file__.rindex("/")]
    while here in sys.path:
        sys.path.remove(here)
    sys.path_importer_cache.pop(here, None)
    root = here[: here.rindex("/inside/site")]
    # The recorder is imported under its own name but stays out of sys.modules, so that
    # a program that imports pytest_proclife gets its own, or the ImportError it would get.
    package = type(sys)("pytest_proclife")
    package.__path__ = [root]
    sys.modules["pytest_proclife"] = package
    try:
        from pytest_proclife.inside import entry

        entry.enter(here, root)
    finally:
        for name in [name for name in sys.modules if name.startswith("pytest_proclife")]:
            del sys.modules[name]
        sys.path_importer_cache.pop(root, None)
        sys.path_importer_cache.pop(root + "/inside", None)


try:
    _enter()
except Exception:
    pass  # the observed program must never see a fault of the recorder
del sys.modules["sitecustomize"]
import sitecustomize  # noqa: E402, F401

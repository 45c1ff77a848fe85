"""C modules that the program has not imported, used without a trace in `sys.modules`."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_bootstrap = sys.modules["_frozen_importlib"]
_external = sys.modules["_frozen_importlib_external"]
# only there, so that no finder or path of the program's is asked
_folders = [path for path in sys.path if path.endswith("/lib-dynload")]
_borrowed: "dict[str, ModuleType]" = {}


def borrow(name: str) -> "ModuleType":
    """The program's own module if it has imported it, else one that only we see."""
    module = sys.modules.get(name) or _borrowed.get(name)
    if module is None:
        module = _borrowed[name] = _load(name)
    return module


def _load(name: str) -> "ModuleType":
    spec = _bootstrap.BuiltinImporter.find_spec(name)
    if spec is None:
        spec = _external.PathFinder.find_spec(name, _folders)
    if spec is None:
        raise ImportError(name)
    module: ModuleType = spec.loader.create_module(spec)
    spec.loader.exec_module(module)
    sys.modules.pop(name, None)  # where the older kind of C module puts itself
    return module

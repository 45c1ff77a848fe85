"""C modules that the program has not imported, used without a trace in `sys.modules`."""

import _imp
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# only there, so that no finder or path of the program's is asked
_folders = [path for path in sys.path if path.endswith("/lib-dynload")]
_borrowed: "dict[str, ModuleType]" = {}


class _Spec:
    """As much of a module's spec as the functions of `_imp` look at."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.origin = "built-in"


def borrow(name: str) -> "ModuleType":
    """The program's own module if it has imported it, else one that only we see."""
    module = sys.modules.get(name)
    if module is None or str(getattr(module, "__file__", "")).endswith(".py"):
        module = _borrowed.get(name)  # a file of the program's may have that name too
    if module is None:
        module = _borrowed[name] = _load(name)
    return module


def _load(name: str) -> "ModuleType":
    spec, before = _Spec(name), sys.modules.get(name)
    module: ModuleType
    if _imp.is_builtin(name):
        module = _imp.create_builtin(spec)  # type: ignore[arg-type]
        _imp.exec_builtin(module)
    else:
        spec.origin = _file(name)
        module = _imp.create_dynamic(spec)  # type: ignore[arg-type]
        _imp.exec_dynamic(module)
    sys.modules.pop(name, None)  # where the older kind of C module puts itself
    if before is not None:
        sys.modules[name] = before
    return module


def _file(name: str) -> str:
    for folder in _folders:
        for suffix in _imp.extension_suffixes():
            path = f"{folder}/{name}{suffix}"
            if posix.access(path, posix.R_OK):
                return path
    raise ImportError(name)

"""Import the recorder: in one read, past the import system, without a trace in `sys.modules`.

The code objects of its modules are in one file beside the package's bytecode: imports would cost
two milliseconds in every process, and use the program's finders. Modules that few processes need
are loaded when they are used.
"""

import builtins
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

# each after those that it imports
_MODULES = (
    "wire",
    "inside",
    "inside.handlers",
    "inside.builtins",
    "inside.recorder",
    "inside.monitoring" if sys.version_info >= (3, 12) else "inside.rewrite",  # 3.11: rewrite
    "inside.watch",
    "inside.fork_exec",
    "inside.launch",
    "inside.exit",
    "inside.callsite",
    "inside.programs",
    "inside.signals",
    "inside.waits",
    "inside.process_target",
    "inside.multiproc",
    "inside.foreign",
    "inside.early",
    "inside.entry",
)
_LATER = ("inside.launch", "inside.foreign", "inside.early")  # loaded when they are used
_PACKAGE = "pytest_proclife"


class _Later(type(sys)):  # type: ignore[misc]  # the type of modules
    """A module that is loaded when the first of its names is used."""

    def __getattr__(self, name: str) -> "Any":
        names = self.__dict__
        if "_code" not in names:
            raise AttributeError(name)
        own = names["_own"]

        def find(name: str, *details: "Any") -> "ModuleType":
            """Find the recorder's modules, which are not in `sys.modules` any more."""
            return own.get(name) or builtins.__import__(name, *details)

        names["__builtins__"] = {**builtins.__dict__, "__import__": find}
        exec(marshal.loads(names["_code"]), names)
        names.pop("_code", None)  # another thread may have done the same
        return names[name]


def load(inside: str) -> "ModuleType":
    """Returns the module `entry`. A program that imports pytest_proclife gets its own, later."""
    before = {name: sys.modules.pop(name) for name in _loaded()}
    root = inside[: inside.rindex("/")]
    own: dict[str, ModuleType] = {}
    try:
        package = sys.modules[_PACKAGE] = own[_PACKAGE] = type(sys)(_PACKAGE)
        package.__path__ = [root]
        for name, path, code in _codes(root, f"{inside}/__pycache__"):
            kind = _Later if isinstance(code, bytes) else type(sys)
            module: ModuleType = kind(f"{_PACKAGE}.{name}")
            module.__file__ = path
            sys.modules[module.__name__] = own[module.__name__] = module
            parent, _, last = module.__name__.rpartition(".")
            setattr(sys.modules[parent], last, module)
            if isinstance(code, bytes):
                module.__dict__.update(_code=code, _own=own)
                continue
            if path.endswith("/__init__.py"):
                module.__path__ = [inside]
            exec(code, module.__dict__)
    finally:
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(before)
    return module


def _loaded() -> "list[str]":
    return [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]


def _codes(root: str, folder: str) -> "list[tuple[str, str, CodeType | bytes]]":
    files = [_file(root, name) for name in _MODULES]
    states = [posix.stat(path) for path in (*files, f"{root}/inside/site/loader.py")]
    stamp = [root, *((state.st_mtime_ns, state.st_size) for state in states)]
    bundle = f"{folder}/recorder.{sys.implementation.cache_tag}.bundle"
    try:
        with open(bundle, "rb", 0) as file:
            found, codes = marshal.loads(file.read())
    except Exception:
        found, codes = None, []  # it does not exist, or is broken
    if found != stamp:
        source_loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
        named = zip(_MODULES, files, strict=True)
        codes = [source_loader(name, path).get_code(name) for name, path in named]
        codes = [
            marshal.dumps(code) if name in _LATER else code
            for name, code in zip(_MODULES, codes, strict=True)
        ]
        if not sys.dont_write_bytecode:
            _keep(bundle, marshal.dumps((stamp, codes)))
    return list(zip(_MODULES, files, codes, strict=True))


def _file(root: str, name: str) -> str:
    path = f"{root}/{name.replace('.', '/')}"
    return f"{path}/__init__.py" if name == "inside" else f"{path}.py"


def _keep(path: str, data: bytes) -> None:
    temporary = f"{path}.{posix.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        posix.rename(temporary, path)
    except OSError:
        pass  # the folder cannot be written to: each process loads module by module

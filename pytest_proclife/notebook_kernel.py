"""Runs the cells of a notebook in main, and stands in for the kernel that they are written for.

The program that `notebook.write_program` makes executes this file, so it imports nothing of ours,
and other modules at first use: no cell may need them. What a kernel does is IPython's; the names
in LINE_MAGICS and CELL_MAGICS are what is done here, and all others are left out.
"""

import builtins
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _ast
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType, TracebackType
    from typing import Any

_AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_AST = 0x400  # ast.PyCF_ONLY_AST
_COROUTINE = 0x80  # inspect.CO_COROUTINE
_SCRIPTS = {"bash": "bash", "sh": "sh", "script": "", "python": "", "python3": ""}
_SHELL = ("ls", "ll", "cat", "mkdir", "cp", "mv", "rm", "rmdir")

LINE_MAGICS = {*("time", "timeit", "prun", "cd", "pwd", "env", "set_env", "run", "sx", "system")}
LINE_MAGICS |= {*_SHELL}
CODE_MAGICS = {*("time", "timeit", "prun", "capture")}  # the rest of the cell is Python
CELL_MAGICS = {*("writefile", "file", "sx", "system"), *_SCRIPTS}


def run(
    names: "dict[str, Any]",
    cells: "Sequence[dict[str, Any]]",
    *,
    path: "Sequence[str]",
    wanted: "Sequence[str]",
    flags: int,
    keep_going: bool,
) -> None:
    """Run cells in the namespace `names`, one after the other.

    Each cell is `file` (the path that its tracebacks name), `source` (Python), `magic` and `line`
    (of a cell magic around it), `broken` (it is not Python) and `may_raise`. `path` is the
    beginning of the search path, `wanted` are the kernel's names that the cells use, and `flags`
    are the compiler's, of `__future__` imports.
    """
    is_main = names["__name__"] == "__main__"
    if is_main:
        sys.path[:1] = list(dict.fromkeys([*path, os.getcwd()]))
    kernel = Kernel(names, is_main, flags)
    for name, value in (("get_ipython", lambda: kernel), ("display", display)):
        if name in wanted:
            setattr(builtins, name, value)
    first: Exception | None = None
    for cell in cells:
        try:
            kernel.run_cell(cell)
        except Exception as error:
            may_raise = cell["may_raise"] or cell["broken"]
            if not (may_raise or keep_going):
                raise
            if is_main:
                _show(error)
            if not may_raise and first is None:
                first = error
    if first is not None:
        sys.excepthook = _silent  # it has been shown
        raise first


def cleaned(error: BaseException) -> BaseException:
    """An exception without our frames in its traceback."""
    error.__traceback__ = _without_ours(error.__traceback__)
    return error


def display(*values: object, **options: object) -> None:
    """As IPython.display.display() does where there is no kernel."""
    for value in values:
        print(repr(value))


class Kernel:
    """What get_ipython() returns."""

    def __init__(self, names: "dict[str, Any]", is_main: bool, flags: int) -> None:
        self.user_ns = names
        self._is_main = is_main
        self._flags = flags
        self._runner: Any = None

    def __getattr__(self, name: str) -> "Callable[..., None]":
        """Anything else does nothing, such as `get_ipython().events.register`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()

    # --- cells

    def run_cell(self, cell: "dict[str, Any]") -> None:
        if cell["magic"] == "capture":
            self._capture(cell)
        elif cell["magic"] == "time":
            with _Timed(self._is_main):
                self._execute(cell)
        else:
            self._execute(cell)

    def _execute(self, cell: "dict[str, Any]") -> None:
        source, file = cell["source"], cell["file"]
        tree = compile(source, file, "exec", self._flags | _AST | _AWAIT, dont_inherit=True)
        import _ast  # ast itself would be an import that the program does not make

        codes = []
        last = tree.body[-1:]
        # a kernel shows the value of the last line, if there is no semicolon behind it
        shows = self._is_main and not cell["magic"] and not source.rstrip().endswith(";")
        if shows and last and isinstance(last[0], _ast.Expr):
            tree.body.pop()
            codes = [self._compiled(_ast.Interactive(last), file, "single")]
        codes.insert(0, self._compiled(tree, file, "exec"))
        if not any(code.co_flags & _COROUTINE for code in codes):
            for code in codes:
                exec(code, self.user_ns)
            return
        if self._runner is None:  # the cells share one event loop, as in a kernel
            import asyncio

            self._runner = asyncio.Runner()
        self._runner.run(self._awaited(codes))

    def _compiled(self, tree: "_ast.Module | _ast.Interactive", file: str, mode: str) -> "CodeType":
        code: CodeType = compile(tree, file, mode, self._flags | _AWAIT, dont_inherit=True)
        return code

    async def _awaited(self, codes: "Sequence[CodeType]") -> None:
        for code in codes:
            made = eval(code, self.user_ns)
            if code.co_flags & _COROUTINE:
                await made

    def _capture(self, cell: "dict[str, Any]") -> None:
        import contextlib
        import io

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self._execute(cell)
        words = [word for word in cell["line"].split() if not word.startswith("-")]
        if words:
            self.user_ns[words[0]] = _Captured(out.getvalue(), err.getvalue())

    # --- magics and commands

    def run_line_magic(self, name: str, line: str, *more: object) -> object:
        if name not in LINE_MAGICS:
            return None
        frame = sys._getframe(1)
        if name in ("time", "timeit", "prun"):
            return self._statement(name, line, frame)
        line = _expanded(line, frame)
        if name in _SHELL:
            self.system(f"{'ls -l' if name == 'll' else name} {line}")
            return None
        if name in ("sx", "system"):
            return self.getoutput(line)
        return getattr(self, f"_{name}")(line.strip())

    def magic(self, line: str) -> object:
        name, _, rest = line.strip().lstrip("%").partition(" ")
        return self.run_line_magic(name, rest)

    def run_cell_magic(self, name: str, line: str, cell: str) -> object:
        if name not in CELL_MAGICS:
            return None
        frame = sys._getframe(1)
        if name in ("writefile", "file"):
            self._writefile(_expanded(line, frame), cell)
            return None
        if name in ("sx", "system"):
            return self.getoutput(cell)
        if self._is_main:
            import shlex
            import subprocess

            words = shlex.split(_expanded(line, frame))
            program = [_SCRIPTS[name]] if _SCRIPTS[name] else []
            program = [sys.executable, "-"] if name.startswith("python") else program
            self._flush()
            subprocess.run([*program, *words], input=cell.encode(), check=False)
        return None

    def system(self, command: str) -> None:
        """Run a command of the shell; its output is the program's."""
        if self._is_main:  # not once more in each child that imports main
            import subprocess

            self._flush()
            subprocess.run(_expanded(command, sys._getframe(1)), shell=True, check=False)

    def getoutput(self, command: str, *more: object) -> "list[str]":
        """The lines that a command of the shell prints."""
        import subprocess

        command = _expanded(command, sys._getframe(1))
        done = subprocess.run(
            command, shell=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        lines = done.stdout.decode("utf-8", "backslashreplace").splitlines()
        try:
            from IPython.utils.text import SList
        except ImportError:
            return lines
        found: list[str] = SList(lines)
        return found

    def _statement(self, name: str, line: str, frame: "FrameType") -> object:
        """%time: a statement or an expression, whose value it returns."""
        words = line.split()
        while words and words[0].startswith("-"):  # options of %timeit
            words = words[1:]
            line = line.strip().partition(" ")[2]
        try:
            code, is_value = compile(line.strip(), "<timed>", "eval"), True
        except SyntaxError:
            code, is_value = compile(line.strip(), "<timed>", "exec"), False
        value = None
        with _Timed(self._is_main and name == "time"):
            if is_value:
                value = eval(code, frame.f_globals, frame.f_locals)
            else:
                exec(code, frame.f_globals, frame.f_locals)
        return value if name == "time" else None

    def _cd(self, line: str) -> None:
        if self._is_main:
            os.chdir(os.path.expanduser(line.strip("'\"") or "~"))
            print(os.getcwd())

    def _pwd(self, line: str) -> str:
        return os.getcwd()

    def _env(self, line: str) -> object:
        if not line:
            return dict(os.environ)
        name, sign, value = line.partition("=")
        if not sign:
            name, sign, value = line.partition(" ")
        if not sign:
            return os.environ.get(name)
        os.environ[name.strip()] = value.strip()
        print(f"env: {name.strip()}={value.strip()}")
        return None

    _set_env = _env

    def _run(self, line: str) -> None:
        """%run: a script in a namespace of its own, whose names become the program's."""
        import runpy
        import shlex

        words = shlex.split(line)
        while words and words[0].startswith("-"):
            words = words[1:]
        before, sys.argv = sys.argv, words
        try:
            found = runpy.run_path(
                words[0], run_name="__main__" if self._is_main else "__mp_main__"
            )
        finally:
            sys.argv = before
        self.user_ns.update((n, v) for n, v in found.items() if not n.startswith("__"))

    def _writefile(self, line: str, cell: str) -> None:
        if not self._is_main:
            return
        words = line.split()
        append = bool({"-a", "--append"} & set(words))
        (name,) = [word.strip("'\"") for word in words if word not in ("-a", "--append")]
        name = os.path.expanduser(name)
        verb = "Appending to" if append else "Overwriting"
        if not os.path.exists(name):
            verb = "Writing"
        with open(name, "a" if append else "w", encoding="utf-8") as file:
            file.write(cell)
        print(f"{verb} {name}")

    def _flush(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()


class _Nothing:
    """Whatever is called or looked up on it, nothing happens."""

    def __call__(self, *words: object, **more: object) -> None:
        return None

    def __getattr__(self, name: str) -> "_Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class _Captured:
    """What %%capture keeps."""

    def __init__(self, stdout: str, stderr: str) -> None:
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        return self.stdout

    def show(self) -> None:
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)


class _Timed:
    """Prints the time that its block took, if that is asked for."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def __enter__(self) -> None:
        import time

        self._clock = time.perf_counter
        self._began = self._clock(), os.times()

    def __exit__(self, *error: object) -> None:
        if not self._wanted:
            return
        wall, before = self._began
        now = os.times()
        user, system = now.user - before.user, now.system - before.system
        total = user + system
        print(f"CPU times: user {user:.3g} s, sys: {system:.3g} s, total: {total:.3g} s")
        print(f"Wall time: {self._clock() - wall:.3g} s")


def _expanded(text: str, frame: "FrameType") -> str:
    """A line in which {expression} and $name are replaced by their values, as IPython does it."""
    if "{" not in text and "$" not in text:
        return text
    try:
        from IPython.utils.text import DollarFormatter
    except ImportError:
        return text
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    try:
        found: str = DollarFormatter().vformat(text, (), {**frame.f_globals, **frame.f_locals})
    except Exception:  # noqa: BLE001 - a brace of the shell's: IPython leaves the line as it is, too
        return text
    return found


def _without_ours(trace: "TracebackType | None") -> "TracebackType | None":
    """A traceback from the first line of a cell on, without our frames."""
    while trace is not None and not _is_cells(trace):  # ours, and those of asyncio's Runner
        trace = trace.tb_next
    at = trace
    while at is not None:
        while at.tb_next is not None and at.tb_next.tb_frame.f_code.co_filename == __file__:
            at.tb_next = at.tb_next.tb_next
        at = at.tb_next
    return trace


def _is_cells(trace: "TracebackType") -> bool:
    return os.path.dirname(trace.tb_frame.f_code.co_filename) == _PLACE


_PLACE = ""  # the folder with the files of the cells


def _show(error: Exception) -> None:
    sys.stdout.flush()
    cleaned(error)
    sys.__excepthook__(type(error), error, error.__traceback__)
    sys.stderr.flush()


def _silent(*error: object) -> None:
    """In place of sys.excepthook, for an exception that has been shown."""

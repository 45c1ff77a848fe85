"""Whether a command line starts a Python, and how the recorder gets into it."""

import os
import sys

END = "_proclife.end"  # an audit event of ours
_AT_END = "\n__import__('sys').audit('%s')" % END
_ISOLATED = "exec(open(%r).read(),{'PATH':%r});"
_COMPOUND = ("if", "for", "while", "with", "try", "def", "class", "async", "match", "@")
_OPTIONS_WITH_VALUE = "WX"


class Plan:
    """How a program is started: the arguments to use, whether it will report, and by which way."""

    __slots__ = ("arguments", "by_path", "observed")

    def __init__(self, arguments, observed=False, by_path=False):
        self.arguments = arguments
        self.observed = observed
        self.by_path = by_path


def plan(executables, arguments, cwd=None):
    """Decide for a command line; `executables` are the paths to be tried in turn."""
    path = _existing(executables, cwd)
    if path is None:
        return Plan(arguments)
    options = arguments[1:]
    if not is_interpreter(path):
        line = _shebang(path)
        if line is None:
            return Plan(arguments)
        if any(_flags(line)[0]):
            return Plan(arguments)  # its text cannot be changed
        return Plan(arguments, observed=True, by_path=True)
    (isolated, no_site), command = _flags([os.fsdecode(option) for option in options])
    if command is not None and sys.version_info < (3, 12) and path == sys.executable:
        arguments = _with_end(arguments, 1 + command)
    if not isolated and not no_site:
        return Plan(arguments, observed=True, by_path=True)
    if command is None:
        return Plan(arguments)
    text = os.fsdecode(arguments[1 + command])
    first = text.split(None, 1)[0] if text.strip() else ""
    if "__future__" in text or first.rstrip(":").startswith(_COMPOUND):
        return Plan(arguments)  # nothing can be put before it on its own line
    changed = list(arguments)
    changed[1 + command] = _prefixed(text, arguments[1 + command])
    return Plan(changed, observed=True)


def _with_end(arguments, index):
    """3.11 cannot tell whether the text of -c came to its end or left by sys.exit(0): let it say."""
    changed = list(arguments)
    end = os.fsencode(_AT_END) if isinstance(changed[index], bytes) else _AT_END
    changed[index] = changed[index] + end
    return changed


def restore(arguments):
    """Take out of `sys.orig_argv` what was put into the text of -c."""
    for index, argument in enumerate(arguments):
        if argument.startswith("exec(open(") and "/site/isolated.py" in argument:
            argument = argument[argument.index("});") + 3 :]
        arguments[index] = argument.removesuffix(_AT_END)


def _prefixed(text, original):
    path = __file__[: __file__.rindex("/")] + "/site/isolated.py"
    text = _ISOLATED % (path, path) + text
    return os.fsencode(text) if isinstance(original, bytes) else text


def candidates(path, search):
    """The paths that posix_spawnp tries, in turn."""
    name = os.fsdecode(path)
    if not search or "/" in name:
        return [name]
    return [os.path.join(folder, name) for folder in os.get_exec_path()]


def is_interpreter(path):
    """Whether a path is a CPython, by its name (that of the link, or of what it leads to)."""
    if path == sys.executable:
        return True
    return any(
        name.startswith("python") and not name[6:].strip("0123456789.td")
        for name in (os.path.basename(path), os.path.basename(os.path.realpath(path)))
    )


def _existing(executables, cwd):
    for path in executables:
        path = os.fsdecode(path)
        full = os.path.join(os.fsdecode(cwd), path) if cwd is not None else path
        if os.access(full, os.X_OK):
            return full
    return None


def _shebang(path):
    """The options of a script's Python, as a list; None if it is no script for Python."""
    with open(path, "rb") as file:
        if file.read(2) != b"#!":
            return None
        words = os.fsdecode(file.readline(500)).split()
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word != "-S" and "=" not in word]
    if not words or not is_interpreter(words[0]):
        return None
    return words[1:]


def _flags(options):
    """What the options say: ((isolated or no environment, no site), index of the text of -c)."""
    isolated = no_site = False
    index = 0
    while index < len(options):
        option = options[index]
        if not option.startswith("-") or option in ("-", "--"):
            break
        if option.startswith("--"):
            index += 2 if option == "--check-hash-based-pycs" else 1
            continue
        for place, letter in enumerate(option[1:], 1):
            if letter in "IE":
                isolated = True
            elif letter == "S":
                no_site = True
            elif letter == "c":
                return (isolated, no_site), (index + 1 if place == len(option) - 1 else None)
            elif letter == "m":
                return (isolated, no_site), None
            elif letter in _OPTIONS_WITH_VALUE:
                if place == len(option) - 1:
                    index += 1
                break
        index += 1
    return (isolated, no_site), None

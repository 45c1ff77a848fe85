"""Namespaces of the kernel in which an answer sees its own processes and files alone."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import pwd
import signal
import socket
import struct
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_proclife.confinement import User
from pytest_proclife.supervisor import kernel

# linux/sched.h, linux/mount.h, linux/if.h, linux/sockios.h
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")
_SIZE = 1 << 28  # bytes of what stands in their place
_FAILED = 70  # EX_SOFTWARE
_PACKAGE = Path(__file__).parents[1]


class Refused(Exception):
    """The kernel, or what this process runs in, does not allow it; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """Which namespaces a grader enters, before anything of an answer runs.

    With a `user`, it sees no other processes, and files only where that user is let in; /tmp and
    the like are its own. Without `network` it has a loopback device alone.
    """

    user: User | None = None
    network: bool = True

    def enter(self, kept: Sequence[Path]) -> None:
        """Enter them. `kept` stay where they are. Refused if that is not possible.

        For a namespace of processes this forks, and returns in the child. The parent waits for it,
        and exits as it does.
        """
        if not self.network:
            _leave_network()
        if self.user is not None:
            _unshare(_NEWNS | _NEWIPC | _NEWPID, "a namespace of processes and of mounts")
            _fork_into_namespace()
            _mount("none", "/", "", _REC | _PRIVATE)
            _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
            _hide_files([*_needed(), *kept], self.user)


def refusal(walls: Walls) -> str:
    """Why such namespaces cannot be entered here; "" if they can. Tried out in a child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            walls.enter([])
            code = 0
        except (Refused, OSError) as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:
        reason = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return reason or (f"the attempt ended with status {status}" if status else "")


def user_named(name: str) -> User:
    """A user of this system. ValueError if there is none of that name, or if it is root."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"--user: there is no user {name!r}") from None
    if found.pw_uid == 0:
        raise ValueError(f"--user: {name!r} is root, who may do anything")
    groups = tuple(os.getgrouplist(name, found.pw_gid))
    return User(name=name, uid=found.pw_uid, gid=found.pw_gid, groups=groups)


def first_hidden(user: User) -> str:
    """What Python needs and a user cannot read; "" if there is nothing."""
    for path in _needed():
        if (closed := _closed(path, user)) is not None:
            return str(closed)
    return ""


def _unshare(flags: int, what: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(flags) != 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str | Path, kind: str, flags: int, data: str = "") -> None:
    library = ctypes.CDLL(None, use_errno=True)
    arguments = [os.fsencode(text) or None for text in (source, target, kind)]
    if library.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None) != 0:
        raise Refused(f"to mount {target}: {os.strerror(ctypes.get_errno())}")


# --- processes


def _fork_into_namespace() -> None:
    """Become the first process of the namespace; the parent stays outside and waits."""
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent(signal.SIGKILL)
        return
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (9, 19) else None
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else _FAILED)


# --- network


def _leave_network() -> None:
    """Have a network of the loopback device alone, as another user than root too."""
    try:
        _unshare(_NEWNET, "a network namespace")
    except Refused:
        uid, gid = os.getuid(), os.getgid()
        _unshare(_NEWUSER | _NEWNET, "a network namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = array.array("B", struct.pack("16sh14x", b"lo", 0))
        fcntl.ioctl(probe, _GET_FLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        fcntl.ioctl(probe, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


# --- files


def _needed() -> list[Path]:
    """What a Python of this environment reads."""
    texts = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.executable]
    texts += [os.path.realpath(sys.executable), str(_PACKAGE)]
    texts += [*sysconfig.get_paths().values(), *filter(None, sys.path)]
    # `python -m` has put the working folder first: that is the teacher's
    found = {Path(os.path.abspath(text)) for text in texts if text != os.getcwd()}
    return sorted(path for path in found if path.exists())


def _hide_files(kept: Sequence[Path], user: User) -> None:
    """Put empty folders in place of /tmp, and of those that the user may not enter.

    What is kept is in them again.
    """
    outermost = [path for path in kept if not any(other in path.parents for other in kept)]
    hidden = {Path(os.path.realpath(path)) for path in _SCRATCH if os.path.isdir(path)}
    hidden |= {closed for path in outermost if (closed := _closed(path, user)) is not None}
    for folder in sorted(hidden):
        if folder not in outermost:
            _hide(folder, [path for path in outermost if folder in path.parents], user)


def _closed(path: Path, user: User) -> Path | None:
    """The first folder on the way to a path that the user may not enter."""
    for folder in reversed(path.parents):
        status = folder.stat()
        if status.st_uid == user.uid:
            bits = status.st_mode >> 6
        elif status.st_gid in user.groups:
            bits = status.st_mode >> 3
        else:
            bits = status.st_mode
        if not bits & 1:
            return folder
    return None


def _hide(folder: Path, kept: Sequence[Path], user: User) -> None:
    opened = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in kept]
    is_scratch = str(folder) in _SCRATCH
    mode = "1777" if is_scratch else "755"
    _mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, f"mode={mode},size={_SIZE}")
    for path, descriptor in opened:
        source = f"/proc/self/fd/{descriptor}"
        if os.path.isdir(source):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        _mount(source, path, "", _BIND | _REC)
        os.close(descriptor)

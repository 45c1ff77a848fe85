"""Run a command as in a container: `container.py OPTION... -- COMMAND`.

The options, in the order in which they are applied:

    --pids            a pid namespace; the command is its first process
    --proc KIND       /proc: own (of the new pid namespace), none, or hidepid1, hidepid2
    --read-only       nothing can be written, /dev/shm and /tmp included
    --no-shm          no /dev/shm
    --user-namespace  a user namespace, whose root is the user that calls
    --user ID         another user and group
    --docker          root with the capabilities that Docker leaves it
    --no-new-privs    as Docker's no-new-privileges
    --files N         RLIMIT_NOFILE
    --processes N     RLIMIT_NPROC
    --seccomp KIND    docker: what Docker's default profile refuses; docker-19: what that of
                      Docker 19.03 did too, as pidfds; no-threads: the same below a newer C
                      library, which then starts no thread; no-pidfd-signals: that call alone

It exits with 77 and the reason if the machine does not allow what is asked for.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

NOT_POSSIBLE = 77

_libc = ctypes.CDLL(None, use_errno=True)

# linux/sched.h, sys/mount.h, linux/prctl.h, linux/capability.h
_NEWNS, _NEWUSER, _NEWPID = 0x20000, 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_DETACH = 2
_SECCOMP, _BOUNDING_DROP, _NO_NEW_PRIVS = 22, 24, 38
_FILTER = 2
_CAPABILITY_VERSION = 0x20080522

# The capabilities that Docker leaves to root: chown, dac_override, fowner, fsetid, kill, setgid,
# setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
DOCKERS_CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)


def _numbers(text: str) -> dict[str, int]:
    """Calls by name, with their numbers on x86-64."""
    return {name: int(number) for name, number in (word.split("=") for word in text.split())}


# What Docker's default profile refuses on x86-64, without any further capability but those above,
# with EPERM (moby/profiles of 2026-06, seccomp/default.json, put the other way round).
REFUSED = _numbers(
    """
    syslog=103 uselib=134 ustat=136 sysfs=139 vhangup=153 pivot_root=155 _sysctl=156 acct=163
    settimeofday=164 mount=165 umount2=166 swapon=167 swapoff=168 reboot=169 sethostname=170
    setdomainname=171 iopl=172 ioperm=173 create_module=174 init_module=175 delete_module=176
    get_kernel_syms=177 query_module=178 quotactl=179 nfsservctl=180 getpmsg=181 putpmsg=182
    afs_syscall=183 tuxcall=184 security=185 lookup_dcookie=212 clock_settime=227 vserver=236
    mbind=237 set_mempolicy=238 get_mempolicy=239 kexec_load=246 add_key=248 request_key=249
    keyctl=250 migrate_pages=256 unshare=272 move_pages=279 perf_event_open=298
    fanotify_init=300 open_by_handle_at=304 setns=308 kcmp=312 finit_module=313
    kexec_file_load=320 bpf=321 userfaultfd=323 io_uring_setup=425 io_uring_enter=426
    io_uring_register=427 open_tree=428 move_mount=429 fsopen=430 fsconfig=431 fsmount=432
    fspick=433 pidfd_getfd=438 process_madvise=440 mount_setattr=442 quotactl_fd=443
    set_mempolicy_home_node=450 lsm_get_self_attr=459 lsm_set_self_attr=460
    lsm_list_modules=461
    """
)
CLONE, CLONE3, SOCKET, PERSONALITY = 56, 435, 41, 135
# clone's flags of namespaces: cgroup, uts, ipc, user, pid, net, mount
NAMESPACES = 0x7E020000
LAST_KNOWN = 466  # to what is newer than a profile, runc answers ENOSYS
# What Docker 19.03 refused as well, since it did not know it or left it to CAP_SYS_PTRACE: EPERM.
UNKNOWN_IN_19 = _numbers(
    """
    pidfd_send_signal=424 pidfd_open=434 close_range=436 openat2=437 pidfd_getfd=438
    faccessat2=439 epoll_pwait2=441 process_vm_readv=310 process_vm_writev=311 ptrace=101
    rseq=334
    """
)
_EPERM, _ENOSYS = 1, 38

# linux/seccomp.h, linux/bpf_common.h
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_X86_64 = 0xC000003E


def _refuse(number: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | error)]


def docker_filter() -> list[tuple[int, int, int, int]]:
    """Instructions: (code, jump if true, jump if false, value)."""
    error = (_RETURN, 0, 0, _ERRNO | _EPERM)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _X86_64),
        error,
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER, 0, 1, LAST_KNOWN),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    for number in REFUSED.values():
        program += _refuse(number, _EPERM)
    program += _refuse(CLONE3, _ENOSYS)
    # clone without flags of namespaces
    program += [
        (_JUMP_EQUAL, 0, 4, CLONE),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_SET, 0, 1, NAMESPACES),
        error,
        (_RETURN, 0, 0, _ALLOW),
    ]
    # no sockets of AF_ALG (38) and AF_VSOCK (40)
    program += [
        (_JUMP_EQUAL, 0, 5, SOCKET),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 1, 0, 38),
        (_JUMP_EQUAL, 0, 1, 40),
        error,
        (_RETURN, 0, 0, _ALLOW),
    ]
    program += [(_JUMP_EQUAL, 0, 8, PERSONALITY), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for place, value in enumerate((0, 8, 0x20000, 0x20008, 0xFFFFFFFF)):
        program.append((_JUMP_EQUAL, 5 - place, 0, value))
    program += [error, (_RETURN, 0, 0, _ALLOW)]
    return program


def filter_of(kind: str) -> list[tuple[int, int, int, int]]:
    if kind == "docker":
        program = docker_filter()
    elif kind in ("docker-19", "no-threads"):
        program = [(_LOAD, 0, 0, _NUMBER)]
        if kind == "no-threads":
            program += _refuse(CLONE3, _EPERM)
        for number in UNKNOWN_IN_19.values():
            program += _refuse(number, _EPERM)
        program += docker_filter()
    else:
        program = [(_LOAD, 0, 0, _NUMBER), *_refuse(UNKNOWN_IN_19["pidfd_send_signal"], _EPERM)]
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def call(name: str, *arguments: object) -> None:
    """A function of the C library. OSError if it fails."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def install(kind: str) -> None:
    if platform.machine() != "x86_64":
        raise OSError("the profiles are those of x86-64")
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in filter_of(kind))
    text = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(text))
    call("prctl", _SECCOMP, _FILTER, header, 0, 0)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    texts = (text.encode() for text in (source, target, kind))
    call("mount", *texts, ctypes.c_ulong(flags), data.encode() or None)


def let_others_pass(path: Path) -> None:
    """Have each folder on the way to a file be one that another user may pass.

    What stands in the way is covered by a folder that has nothing but that way.
    """
    for folder in reversed(path.parents):
        if folder.exists() and not folder.stat().st_mode & 0o001:
            part = path.relative_to(folder).parts[0]
            if os.path.isfile(folder / part):
                raise OSError(f"{folder} cannot be passed")
            handle = os.open(folder / part, os.O_PATH | os.O_DIRECTORY)
            mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")
            (folder / part).mkdir()
            mount(f"/proc/self/fd/{handle}", str(folder / part), "", _BIND | _REC)
            os.close(handle)


def keep_capabilities(kept: tuple[int, ...]) -> None:
    for number in range(64):
        if number not in kept:
            _libc.prctl(_BOUNDING_DROP, number, 0, 0, 0)
    mask = sum(1 << number for number in kept)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    if os.getuid():
        return  # it has none any more
    low, high = mask & 0xFFFFFFFF, mask >> 32
    call("capset", header, struct.pack("IIIIII", low, low, 0, high, high, 0))


def mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]


def read_only() -> None:
    for point in mount_points():
        if point != "/proc" and not point.startswith("/proc/"):
            try:
                mount("", point, "", _REMOUNT | _BIND | _RDONLY)
            except OSError:
                if point == "/":
                    raise  # others may be covered by a later one


def few_devices() -> None:
    """A /dev with what every program needs, and without shm."""
    handles = {name: os.open(f"/dev/{name}", os.O_PATH) for name in ("null", "zero", "urandom")}
    mount("tmpfs", "/dev", "tmpfs", 0, "mode=755")
    for name, handle in handles.items():
        Path("/dev", name).touch()
        mount(f"/proc/self/fd/{handle}", f"/dev/{name}", "", _BIND)
        os.close(handle)
    os.symlink("/proc/self/fd", "/dev/fd")
    mount("", "/dev", "", _REMOUNT | _BIND | _RDONLY)


def prepare(options: argparse.Namespace) -> None:
    if options.user_namespace:
        user, group = os.getuid(), os.getgid()
        call("unshare", _NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if options.proc or options.read_only or options.no_shm or options.user:
        call("unshare", _NEWNS)
        mount("", "/", "", _REC | _PRIVATE)
    if options.pids:
        call("unshare", _NEWPID)


def enter(options: argparse.Namespace) -> None:
    if options.user:
        for needed in {Path(sys.executable).resolve(), Path(sys.prefix), Path.cwd()}:
            let_others_pass(needed / "x")
    if options.read_only:
        read_only()
    if options.no_shm:
        few_devices()
    if options.proc:
        mount_proc(options.proc)
    restrict(options)


def mount_proc(kind: str) -> None:
    flags = _NOSUID | _NODEV | _NOEXEC
    if kind == "none":
        call("umount2", b"/proc", _DETACH)
    else:
        mount("proc", "/proc", "proc", flags, "" if kind == "own" else "hidepid=" + kind[-1])


def restrict(options: argparse.Namespace) -> None:
    """What is of the process itself."""
    if options.files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.files, options.files))
    if options.user:
        os.setgroups([])
        os.setgid(options.user)
        os.setuid(options.user)
        os.environ["HOME"] = "/"
    if options.processes:
        resource.setrlimit(resource.RLIMIT_NPROC, (options.processes, options.processes))
    if options.docker:
        keep_capabilities(DOCKERS_CAPABILITIES)
    if options.no_new_privs or options.seccomp:
        call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    if options.seccomp:
        install(options.seccomp)


def attempt(step: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> None:
    try:
        step(options)
    except (OSError, AttributeError) as error:
        print(f"container.py: {error}", file=sys.stderr)
        os._exit(NOT_POSSIBLE)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("pids", "read-only", "no-shm", "user-namespace", "docker", "no-new-privs"):
        parser.add_argument(f"--{name}", action="store_true")
    for name in ("user", "files", "processes"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("proc", "seccomp"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    attempt(prepare, options)
    child = os.fork()
    if child == 0:
        attempt(enter, options)
        os.execvp(options.command[0], options.command)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()

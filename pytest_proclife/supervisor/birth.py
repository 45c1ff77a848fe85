"""How main comes into the world: forked from the supervisor, made what the caller's child is."""

import _signal
import fcntl
import os
import time

_DESCRIPTORS = (960, 240, 48)  # numbers that programs do not count on, the first that fits


def raise_descriptor_limit():
    """Allow a pidfd for each process of a storm; returns the limits as they were."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # then a storm of more processes than that is recorded by pid alone
    return soft, hard


def start_main(tree, request, descriptors, limits):
    """Fork and exec main; None, or (what failed, errno) where it could not be executed."""
    failed_reader, failed_writer = os.pipe2(os.O_CLOEXEC)
    tree.open_channel(request["address"])
    tree.epoch = time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        try:
            _become_main(tree, request, descriptors, limits)
        except OSError as error:
            os.write(failed_writer, b"%d" % (error.errno or 0))
        finally:
            os._exit(127)
    os.close(failed_writer)
    tree.close_sending_end()
    tree.add_main(pid, request["observed"])
    number = os.read(failed_reader, 100)  # returns when exec has closed the other end
    os.close(failed_reader)
    if number:
        os.waitpid(pid, 0)
        return request["argv"][0], int(number)
    return None


def _become_main(tree, request, descriptors, limits):
    import resource

    if request["group"] is None:
        os.setpgid(0, 0)
    else:
        os.setpgid(0, request["group"])
    for number in range(1, _signal.NSIG):
        try:
            _signal.signal(number, _signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP, and the two that the C library keeps
    for number in request["ignored"]:
        _signal.signal(number, _signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    environment = request["env"]
    if request["observed"]:
        for number in _DESCRIPTORS:
            try:
                handed = fcntl.fcntl(tree.sending_end, fcntl.F_DUPFD, number)
                break
            except OSError:
                continue  # above the limit
        else:
            handed = -1
        name = request["ticket"]
        environment[name] = environment[name].replace(b"FD", b"%d" % handed, 1)
    # first out of the way of 0, 1 and 2, then there
    out_of_the_way = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in descriptors[:3]]
    for number, descriptor in enumerate(out_of_the_way):
        os.dup2(descriptor, number)
    for number, descriptor in request["keep"]:
        os.dup2(descriptors[3 + number], descriptor)
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    _signal.pthread_sigmask(_signal.SIG_SETMASK, request["mask"])
    os.execve(request["argv"][0], request["arguments"], environment)

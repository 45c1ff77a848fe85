import socket
import time

# to the sockets of all runs, as a process that such a run is to have
for line in read("net", "unix").splitlines():
    name = line.rpartition(b"@")[2]
    if name.startswith(b"proclife-"):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s,
        ):
            s.connect(b"\0" + name)
            for pid in [os.getpid(), *other_answers()]:
                head = f"s1 {pid} {time.monotonic_ns()}"
                fields = [head, "1", "process", "Process-9", "1", "fork"]
                s.send("\0".join(fields).encode())

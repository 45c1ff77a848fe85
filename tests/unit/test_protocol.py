"""The protocol between a caller and its supervisor: framing and requests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_proclife.supervisor import protocol
from pytest_proclife.supervisor.protocol import Connection, Request, pack

REQUEST = dict.fromkeys(Request.__annotations__)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Connection]]:
    ours, its = socket.socketpair()
    with ours, its:
        yield its, Connection(ours)


def test_messages_arrive_whole_and_one_by_one(ends: tuple[socket.socket, Connection]) -> None:
    other, connection = ends
    other.sendall(pack((protocol.ASK, 1, False)) + pack((protocol.END,)))
    assert connection.receive() == (protocol.ASK, 1, False)
    assert connection.receive() == (protocol.END,)


def test_a_message_larger_than_a_socket_holds_arrives(
    ends: tuple[socket.socket, Connection],
) -> None:
    other, connection = ends
    message = (protocol.NEWS, 1, 2, [(1, protocol.REPORT, 0, b"x" * 1000, None)] * 5000, None)
    sender = threading.Thread(target=Connection(other).send, args=message)
    sender.start()
    assert connection.receive() == message
    sender.join()


@pytest.mark.parametrize("size", [0, 3, 8, 12])
def test_an_end_that_is_gone_sends_no_message_more(
    size: int, ends: tuple[socket.socket, Connection]
) -> None:
    other, connection = ends
    other.sendall(pack((protocol.ASK, 1, False))[:size])
    other.close()
    assert connection.receive() is None
    connection.send(protocol.END)  # it is lost


def test_a_request_has_all_of_its_fields_and_no_others() -> None:
    assert vars(Request(**REQUEST)) == REQUEST
    with pytest.raises(TypeError, match=r"\['colour', 'linger'\]"):
        Request(**{name: None for name in REQUEST if name != "linger"}, colour="green")

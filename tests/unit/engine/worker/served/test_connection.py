"""One connection to a server: what is read of bodies that do not end."""

import socket
import threading
from collections.abc import Callable

import pytest

from engine.worker.served import connection as connections
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.reads import End, Head, Read, receive, request

HEAD = b"HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\n\r\n"
ENOUGH_BYTES = 48 << 20


def refused(connection: Connection) -> None:
    found: list[Head | Read | End] = []
    receive(connection, request("POST", "/", {}), found.append)
    (end,) = found
    assert isinstance(end, End) and end.error and "HTTP 503" in end.error.message


def asked(connection: Connection) -> None:
    with pytest.raises(ServerError, match="too much"):
        connection.ask("/")


@pytest.mark.parametrize(
    "call",
    [
        lambda connection: connection.warm("/"),
        lambda connection: connection.round_trip_ms("/"),
        asked,
        refused,
    ],
    ids=["warm", "round_trip", "ask", "refused"],
)
def test_a_body_without_end_is_left(
    call: Callable[[Connection], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LONGEST_REPLY_BYTES", 1 << 20)
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as to:
                to.recv(1 << 16)
                to.sendall(HEAD)
                try:
                    for _ in range(ENOUGH_BYTES >> 16):
                        to.sendall(bytes(1 << 16))
                except OSError:
                    left.set()

        server = threading.Thread(target=answer, daemon=True)
        server.start()
        connection = Connection(f"http://127.0.0.1:{listening.getsockname()[1]}")
        call(connection)
        connection.close()
        server.join(30)
    assert left.is_set()


def test_a_body_that_drips_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REPLY_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as to:
                to.recv(1 << 16)
                to.sendall(HEAD.replace(b"503 Busy", b"200 OK") + b"{")
                to.recv(1)  # until the client leaves

        threading.Thread(target=answer, daemon=True).start()
        connection = Connection(f"http://127.0.0.1:{listening.getsockname()[1]}")
        connection.client.timeout = 30.0
        with pytest.raises(ServerError, match="does not answer in time"):
            connection.ask("/")
        connection.close()

"""Servers' answers as they were recorded, and a server that plays them byte for byte.

A recording has lines of head (`# …`), then a line `#@ ms, bytes` before each read of the network. The models'
folders were renamed afterwards, so the bytes are fewer than that line says.
"""

import json
import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "recordings" / "served"
KILLED = "# HTTP 200 {'content-type': 'text/event-stream'}"  # of the recording whose server was killed


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answer."""

    name: str
    path: str
    status: int
    content_type: str
    reads: tuple[bytes, ...]

    @property
    def is_stream(self) -> bool:
        """Whether it came piece by piece."""
        return "event-stream" in self.content_type


def recorded(name: str) -> Recorded:
    """The recording of this name, such as `vllm-cpu.chat-plain`."""
    head, *reads = re.split(rb"^#[@!] .*\n?", (FOLDER / f"{name}.txt").read_bytes(), flags=re.MULTILINE)
    lines = head.decode().splitlines()
    path = next(
        (line.split()[2] for line in lines if line.startswith(("# POST", "# GET"))), "/v1/chat/completions"
    )
    status = next((line for line in lines if line.startswith("# HTTP")), KILLED)
    kind = status.partition("'content-type': '")[2].partition("'")[0]
    return Recorded(name, path, int(status.split()[2]), kind, tuple(read for read in reads if read))


def names() -> list[str]:
    """All recordings."""
    return sorted(file.stem for file in FOLDER.glob("*.txt"))


def streams() -> list[str]:
    """Those that came piece by piece."""
    return [name for name in names() if recorded(name).is_stream]


def said(found: Recorded) -> str:
    """The text of a stream, by a reading of its own."""
    text = ""
    for line in b"".join(found.reads).decode().splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        choices = event.get("choices") or [{}]
        text += (
            event.get("content") or choices[0].get("text") or choices[0].get("delta", {}).get("content") or ""
        )
    return text


Play = Callable[[socket.socket, bytes], bool]
"""Answers one request (its first line, headers and body are given); whether the connection stays."""


class Replay:
    """A server on the loopback device: each POST gets the next of `plays`, a GET what is in `gets`."""

    def __init__(
        self, plays: Sequence[Play], gets: dict[str, tuple[int, bytes]] | None = None, port: int = 0
    ) -> None:
        self._plays, self._gets = list(plays), gets or {}
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", port))
        self.root = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while request := _request(connection):
                self.requests.append(request)
                if request.startswith(b"POST"):
                    if not self._plays or not self._plays.pop(0)(connection, request):
                        return
                else:
                    path = request.split()[1].decode().partition("?")[0]
                    status, body = self._gets.get(path, (404, b"{}"))
                    connection.sendall(whole(status, body))


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(1 << 16)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


def whole(status: int, body: bytes, kind: str = "application/json") -> bytes:
    """An answer in one piece."""
    return (
        b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
        % (status, kind.encode(), len(body))
        + body
    )


def answer(found: Recorded) -> Play:
    """The recording as it was."""
    return (
        stream(found.reads)
        if found.is_stream
        else lambda to, _: to.sendall(whole(found.status, b"".join(found.reads))) or True
    )


def stream(
    reads: Sequence[bytes],
    *,
    ends: bool = True,
    kind: str = "text/event-stream",
    hold: threading.Event | None = None,
    later: Sequence[bytes] = (),
) -> Play:
    """Pieces of a stream, a write each. Unless it `ends` it is cut; `hold` keeps it silent before `later`."""

    def play(to: socket.socket, _: bytes) -> bool:
        to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        to.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n" % kind.encode()
        )
        for data in reads:
            if data:
                to.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        if hold is not None:
            hold.wait()
        for data in later:
            to.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        if ends:
            to.sendall(b"0\r\n\r\n")
        return ends

    return play

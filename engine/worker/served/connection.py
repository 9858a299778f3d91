"""One connection to a server: requests, their key, and what went wrong in words.

Owns the key: it goes into the request's head and is taken out of whatever a server says. Stamps every read of
the network, before anything of it is parsed. Knows no engine.
"""

import socket
import ssl
import time
from contextlib import suppress
from functools import cache
from statistics import median
from typing import Any

import httpx2
import msgspec

from engine.errors import GenerationError

CONNECT_S, WRITE_S, REPLY_S = 5.0, 10.0, 60.0
PINGS = 5
LONGEST_SAID = 300
LONGEST_REPLY_BYTES = 64 << 20
LONGEST_PING_BYTES = 4 << 20  # a ping may be a list of models
LONGEST_REFUSAL_BYTES = 64 << 10
NO_ROUTE = frozenset({404, 405, 500, 501})
_WRITING, _OPEN = "http11.send_request_headers.started", "connection.connect_tcp.complete"
_CONNECTED = frozenset({_OPEN, "connection.start_tls.complete"})


class ServerError(GenerationError):
    """A server that cannot be reached (`status` 0), or refuses."""

    def __init__(self, message: str, hint: str = "", *, status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class TooMuch(Exception):  # noqa: N818
    """A body without end."""


class Connection:
    """Requests to one server, over one connection while it keeps that open."""

    def __init__(self, root: str, key: str | None = None, key_env: str = "") -> None:
        self._key, self._key_env = key, key_env
        self.read_ns = self.sent_ns = 0
        """When bytes last came; when a request last began to be written."""
        self.connects = 0
        """How often it was connected."""
        self._network: Any = None
        timeout = httpx2.Timeout(REPLY_S, connect=CONNECT_S, write=WRITE_S, pool=CONNECT_S)
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        # a proxy out of the environment would spoil the stamps of a machine in the same network
        self.client = httpx2.Client(
            base_url=root, headers=headers, timeout=timeout, trust_env=False, verify=_certificates()
        )

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that answers a POST, or without a body a GET; ServerError for anything else."""
        method = "GET" if body is None else "POST"
        try:
            with self.client.stream(method, path, json=body, extensions={"trace": self.trace}) as response:
                status, content = response.status_code, body_of(response, LONGEST_REPLY_BYTES)
        except TooMuch:
            raise ServerError(f"{path} answers with too much", status=200) from None
        except httpx2.HTTPError as error:
            raise self.unreachable(error) from None
        if status != 200:
            raise self.refused(status, content)
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError):
            raise ServerError(f"{path} answers with something that is no JSON", status=200) from None

    def find(self, path: str) -> dict[str, Any]:
        """The object at a path; empty where the server has no such path."""
        try:
            found = self.ask(path)
        except ServerError as error:
            if error.status in NO_ROUTE or error.status == 200:
                return {}
            raise
        return found if isinstance(found, dict) else {}

    def round_trip_ms(self, path: str) -> float | None:
        """The median time of a few small requests; None where the path answers none."""
        times_ms = []
        for _ in range(PINGS):
            began_ns = time.monotonic_ns()
            try:
                self._ping(path)
            except (httpx2.HTTPError, TooMuch):
                return None
            times_ms.append((time.monotonic_ns() - began_ns) / 1e6)
        return median(times_ms[1:])  # the first may have connected

    def warm(self, path: str) -> None:
        """Connect, unless that was done; a server that does not answer will say so to what is asked."""
        with suppress(httpx2.HTTPError, TooMuch):
            self._ping(path)

    def _ping(self, path: str) -> None:
        with self.client.stream("GET", path, extensions={"trace": self.trace}) as response:
            body_of(response, LONGEST_PING_BYTES)

    def drop(self) -> None:
        """End whatever is being read, from another thread."""
        if self._network is not None and (found := self._network.get_extra_info("socket")) is not None:
            try:
                found.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it had ended

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Told by the library of every step; takes hold of the network as soon as there is one."""
        if name == _WRITING:
            self.sent_ns = time.monotonic_ns()
        if name not in _CONNECTED:
            return
        self.connects += name == _OPEN
        self._network = stream = info["return_value"]
        read = stream.read

        def stamped(most_bytes: int, timeout: float | None = None) -> bytes:
            data: bytes = read(most_bytes, timeout)
            self.read_ns = time.monotonic_ns()
            return data

        stream.read = stamped

    def unreachable(self, error: Exception) -> ServerError:
        """What an error of the network means."""
        if isinstance(error, httpx2.ConnectTimeout):
            return ServerError(
                f"does not answer within {CONNECT_S:.0f} s", "is it running, and reachable from here?"
            )
        if isinstance(error, httpx2.ConnectError):
            return ServerError(
                f"cannot be reached: {self.clean(str(error))}", "is it running, and is the port right?"
            )
        if isinstance(error, httpx2.TimeoutException):
            return ServerError("does not answer in time")
        return ServerError(f"closed the connection: {self.clean(str(error)) or type(error).__name__}")

    def refusal(self, response: httpx2.Response) -> ServerError:
        """Why something is refused, whose body was not read yet."""
        try:
            said = body_of(response, LONGEST_REFUSAL_BYTES)
        except TooMuch:
            said = b"with too many words"
        return self.refused(response.status_code, said)

    def refused(self, status: int, body: bytes) -> ServerError:
        """What a status and the text with it mean."""
        said = self.clean(_message(body)) or "no reason given"
        return ServerError(f"refuses (HTTP {status}): {said}", self._hint(status, said), status=status)

    def _hint(self, status: int, said: str) -> str:
        if status in {401, 403}:
            given = f"the key in {self._key_env} is not the one it wants" if self._key else ""
            return given or "remote.key_env names the environment variable that has the server's key"
        if "context" in said and status == 400:
            return "a shorter conversation, or a server that is started with a longer context"
        return ""

    def clean(self, text: str) -> str:
        """A server's or a library's text, in a line, and without the key."""
        shown = " ".join(text.split())
        return (shown.replace(self._key, "•••") if self._key else shown)[:LONGEST_SAID]


def body_of(response: httpx2.Response, most_bytes: int) -> bytes:
    """All of a body; TooMuch where it is longer, ReadTimeout where its bytes drip for longer than REPLY_S."""
    content, until_s = bytearray(), time.monotonic() + REPLY_S
    for part in response.iter_raw():
        content += part
        if len(content) > most_bytes:
            raise TooMuch
        if time.monotonic() > until_s:
            raise httpx2.ReadTimeout("the body does not end", request=response.request)
    return bytes(content)


@cache
def _certificates() -> ssl.SSLContext:
    """Those that this system trusts; reading them takes longer than an answer's first token."""
    return ssl.create_default_context()


def _message(body: bytes) -> str:
    """What a server says went wrong: each has its own shape for it."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body[: 4 * LONGEST_SAID].decode(errors="replace")
    return error_text(found)


def error_text(found: Any) -> str:
    """The words in `{"error": {"message": …}}`, `{"error": …}`, `{"detail": …}` and their like."""
    while isinstance(found, dict):
        inner = next((found[key] for key in ("error", "message", "detail", "msg") if found.get(key)), None)
        if inner is None:
            break
        found = inner
    if isinstance(found, list) and found:
        return error_text(found[0])
    return found if isinstance(found, str) else str(found)

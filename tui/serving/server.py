"""textual-serve behind the door, on a socket of the loopback device alone: one QuantDuel process per tab."""

from __future__ import annotations

import asyncio
import shlex
import socket
import sys
from collections.abc import Callable, Sequence

from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server

from engine.errors import InputError
from tui.serving.door import Door

LOOPBACK = "127.0.0.1"
SIDES = {"width": (8, 1000), "height": (4, 500)}  # the least and the most cells that a page has


class DuelServer(Server):  # type: ignore[misc]
    """Serves `quantduel` with these arguments."""

    def __init__(self, arguments: Sequence[str], listening: socket.socket) -> None:
        port = listening.getsockname()[1]
        command = shlex.join([sys.executable, "-P", "-m", "tui", *arguments])
        super().__init__(command, host=LOOPBACK, port=port, title="QuantDuel")
        self._listening = listening
        self.door = Door(f"{LOOPBACK}:{port}")

    async def on_startup(self, app: web.Application) -> None:
        """The command prints the address; nothing is printed here."""

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """A tab opens: its process starts at the size that the page says, within bounds."""
        sides = {name: str(within_bounds(name, request.query.get(name))) for name in SIDES}
        return await super().handle_websocket(request.clone(rel_url=request.rel_url.update_query(sides)))

    async def _process_messages(self, websocket: web.WebSocketResponse, app_service: AppService) -> None:
        await super()._process_messages(websocket, _Bounded(app_service))

    async def run(self, ready: Callable[[str], object]) -> None:
        """Serve until this is cancelled; `ready` is called with the address."""
        app = await self._make_app()
        app.middlewares.append(self.door.check)
        app.on_response_prepare.append(self.door.add_headers)
        runner = web.AppRunner(app, access_log=None)  # it would have the token
        await runner.setup()
        try:
            await web.SockSite(runner, self._listening).start()
            ready(self.door.address)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


class _Bounded:
    """A tab's process, for a page that may ask for any size."""

    def __init__(self, process: AppService) -> None:
        self.send_bytes, self.blur, self.focus = process.send_bytes, process.blur, process.focus
        self._resize = process.set_terminal_size

    async def set_terminal_size(self, width: object, height: object) -> None:
        await self._resize(within_bounds("width", width), within_bounds("height", height))


def within_bounds(side: str, said: object) -> int:
    """How many cells a page has from side to side; the least where it says no number."""
    least, most = SIDES[side]
    try:
        return min(max(int(float(str(said))), least), most)
    except (ValueError, OverflowError):  # no number, or infinity
        return least


def listening(port: int) -> socket.socket:
    """A socket that only this machine reaches; 0 is any port. InputError where it is taken."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise InputError(f"port {port}: {error.strerror}", "`--port 0` takes one that is free") from error

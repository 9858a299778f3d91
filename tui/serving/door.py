"""Who may come in: whoever has the address with its token, from a page of this server, under its name.

textual-serve asks nobody. Every request passes here first, websockets and files as well. Knows nothing of
what is served.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from hmac import compare_digest

from aiohttp import web

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; connect-src 'self' {websocket}; img-src 'self' data:; "
    "font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """One server's: `host` is its name with its port, which is the only one that is answered to."""

    def __init__(self, host: str, token: str = "") -> None:
        self.host = host
        self.token = token or secrets.token_urlsafe(32)
        self._cookie = f"quantduel_{host.rpartition(':')[2]}"  # browsers give a cookie to every port

    @property
    def address(self) -> str:
        """What is opened in the browser."""
        return f"http://{self.host}/?token={self.token}"

    @web.middleware  # type: ignore[untyped-decorator]
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request in, refuse it, or put the token of its address into a cookie."""
        if not self._is_from_here(request):
            raise web.HTTPForbidden(text="this is not the address that quantduel serve printed\n")
        if request.path == "/" and self._is_token(request.query.get("token", "")):
            return self._welcomed()
        if not self._is_token(request.cookies.get(self._cookie, "")):
            raise web.HTTPForbidden(text="open the address that quantduel serve printed, token included\n")
        return await handler(request)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Nothing from elsewhere, and nothing that is remembered or passed on."""
        for name, value in HEADERS.items():
            response.headers[name] = value.replace("{websocket}", f"ws://{self.host}")

    def _is_from_here(self, request: web.Request) -> bool:
        """Against names that were bound to this address elsewhere, and against pages of other servers."""
        origin = request.headers.get("Origin")
        return request.headers.get("Host") == self.host and origin in {None, f"http://{self.host}"}

    def _is_token(self, given: str) -> bool:
        return compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _welcomed(self) -> web.StreamResponse:
        """The page without the token in its address."""
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict", path="/")
        return response

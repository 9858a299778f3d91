"""`quantduel serve`: a duel in a browser, and nobody let in without the token."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.tui.replay import wait_until
from tests.tui.serving import chromium

aiohttp = pytest.importorskip("aiohttp", reason="needs textual-serve: pip install 'quantduel[serve]'")
pytest.importorskip("textual_serve", reason="needs textual-serve: pip install 'quantduel[serve]'")
SIDES = ("random-tiny-bf16", "random-tiny-nf4", "--max-new-tokens", "8")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, psutil.Process]]:
    """The address, and the server's process."""
    command = (sys.executable, "-m", "tui", "serve", *SIDES, "--port", "0")
    server = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    assert server.stdout
    yield (await server.stdout.readline()).decode().strip(), psutil.Process(server.pid)
    if server.returncode is None:
        server.terminate()
    await server.wait()


async def _status(address: str, path: str, cookie: str = "", **headers: str) -> int:
    sent = headers | ({"Cookie": cookie} if cookie else {})
    place = address.partition("/?")[0] + path
    async with (
        aiohttp.ClientSession() as client,
        client.get(place, headers=sent, allow_redirects=False) as found,
    ):
        return int(found.status)


async def test_nobody_comes_in_without_the_token(served: tuple[str, psutil.Process]) -> None:
    address, process = served
    host, token = address.removeprefix("http://").split("/?token=")
    port = host.rpartition(":")[2]
    assert host.startswith("127.0.0.1:") and len(token) > 40
    cookie = f"quantduel_{port}={token}"
    for path in (
        "/",
        "/?token=",
        f"/?token={token[:-1]}",
        "/?token=%ff%00",
        "/ws",
        "/static/js/textual.js",
        "/download/x",
    ):
        assert await _status(address, path) == 403, path
        assert await _status(address, path, f"quantduel_{port}={token[:-1]}") == 403, path
    for strange in (
        "evil.example",
        "evil.example:80",
        f"evil.example:{port}",
        "127.0.0.1",
        f"localhost:{port}",
    ):
        assert await _status(address, "/", cookie, Host=strange) == 403
        assert await _status(address, f"/?token={token}", Host=strange) == 403
    for path in ("/", "/ws"):
        assert await _status(address, path, cookie, Origin="http://evil.example") == 403
        assert await _status(address, path, cookie, Origin=f"http://127.0.0.1:{int(port) + 1}") == 403
    assert await _status(address, f"/?token={token}") == 303
    assert await _status(address, "/", cookie) == 200
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert await _status(address, "/ws", **upgrade, **key) == 403
    assert not process.children(), "nothing was started for them"
    listening = {found.laddr.ip for found in process.net_connections() if found.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("said", "cells"), [("99999999", 1000), ("9" * 5000, 8), ("-1", 8), ("wide", 8), (None, 8), (120.0, 120)]
)
def test_a_page_has_so_many_cells_at_most(said: object, cells: int) -> None:
    from tui.serving.server import within_bounds

    assert within_bounds("width", said) == cells


async def test_a_tab_that_asks_for_an_enormous_screen_gets_a_large_one(
    served: tuple[str, psutil.Process],
) -> None:
    address, process = served
    host, token = address.removeprefix("http://").split("/?token=")
    cookie = {"Cookie": f"quantduel_{host.rpartition(':')[2]}={token}"}
    async with (
        aiohttp.ClientSession(headers=cookie) as client,
        client.ws_connect(f"http://{host}/ws?width=99999999&height=99999999") as tab,
    ):
        assert b"\x1b[?1049h" in await tab.receive_bytes()
        started = next(child.environ() for child in process.children(recursive=True) if _is_tab(child))
        assert (started["COLUMNS"], started["ROWS"]) == ("1000", "500")
        for width, height in ((99_999_999, 99_999_999), (None, "high"), (120, 36)):
            await tab.send_json(["resize", {"width": width, "height": height}])
        await tab.send_json(["stdin", "hello there"])
        while b"there" not in await tab.receive_bytes():
            pass


def _is_tab(process: psutil.Process) -> bool:
    return "tui" in process.cmdline()


@pytest.mark.skipif(chromium.installed() is None, reason="needs Chromium")
async def test_a_duel_in_a_browser(served: tuple[str, psutil.Process], tmp_path: Path) -> None:
    address, process = served
    async with chromium.Chromium(tmp_path / "chromium") as browser:
        await browser.call("Page.navigate", url=address)
        await wait_until(lambda: "Ask both" in browser.said, "the first picture")
        assert "token" not in str(await browser.evaluate("location.href"))
        await browser.evaluate("document.querySelector('textarea').focus()")
        await browser.type("Hello browser\n")
        await wait_until(lambda: "same input: " in browser.said, "two answers")
        if picture := os.environ.get("QUANTDUEL_TEST_PICTURE"):
            await browser.picture(Path(picture))
        workers = process.children(recursive=True)
        assert len(workers) >= 3
    await wait_until(
        lambda: not any(each.is_running() for each in workers), "the tab's processes end with it"
    )

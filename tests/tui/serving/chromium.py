"""A headless Chromium that is spoken to over its DevTools, for a test: pages, keys, and what sockets said."""

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-port=0",
    "--window-size=1200,800",
)


def installed() -> str | None:
    """Where Chromium is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """`async with Chromium(folder) as browser`: one page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.said = ""
        """What the page's websockets received, as text."""

    async def __aenter__(self) -> "Chromium":
        self._process = await asyncio.create_subprocess_exec(
            installed() or "",
            *OPTIONS,
            f"--user-data-dir={self._folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        port_file = self._folder / "DevToolsActivePort"
        while not (port_file.exists() and len(port_file.read_text().splitlines()) == 2):
            await asyncio.sleep(0.05)
        port, path = port_file.read_text().splitlines()
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0)
        self._reading = asyncio.create_task(self._read())
        self._session = ""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self.call("Network.enable")
        return self

    async def __aexit__(self, *error: object) -> None:
        self._process.kill()
        await self._process.wait()
        await self._socket.close()
        await self._http.close()
        await self._reading

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        self._number += 1
        self._answers[self._number] = answer = asyncio.get_running_loop().create_future()
        command = {"id": self._number, "method": method, "params": params}
        await self._socket.send_json(command | ({"sessionId": self._session} if self._session else {}))
        return await answer

    async def type(self, text: str) -> None:
        """Type into what has the focus; a newline is Enter."""
        for letter in text:
            key = (
                {"text": "\r", "key": "Enter", "windowsVirtualKeyCode": 13}
                if letter == "\n"
                else {"text": letter}
            )
            await self.call("Input.dispatchKeyEvent", type="keyDown", **key)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def evaluate(self, script: str) -> object:
        """The value of an expression in the page."""
        found = await self.call("Runtime.evaluate", expression=script)
        return found["result"].get("value")

    async def picture(self, file: Path) -> None:
        """What is seen, as PNG."""
        data = base64.b64decode((await self.call("Page.captureScreenshot"))["data"])
        await asyncio.to_thread(file.write_bytes, data)

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if told.get("id") in self._answers:
                self._answers.pop(told["id"]).set_result(told.get("result", {}))
            elif told.get("method") == "Network.webSocketFrameReceived":
                frame = told["params"]["response"]
                data = frame["payloadData"]
                self.said += (
                    data if frame["opcode"] == 1 else base64.b64decode(data).decode("utf-8", "replace")
                )

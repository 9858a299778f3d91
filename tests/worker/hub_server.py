"""A small model hub on localhost: enough of its API to download from, or to be refused by."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository's files; a gated one lists them to all and gives them to the holder of `token`."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    gated: bool = False
    token: str = ""


@dataclass
class Hub:
    """A running server, and what it was asked for."""

    url: str
    requests: list[str]


@contextmanager
def serving(repos: Mapping[str, Repo], status: int = 200) -> Iterator[Hub]:
    """A hub with these repositories; another `status` is its answer to everything."""
    requests: list[str] = []

    class Handler(_Handler):
        pass

    Handler.repos, Handler.status, Handler.requests = repos, status, requests
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repos: Mapping[str, Repo]
    requests: list[str]
    status: int

    def do_GET(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0].strip("/").removeprefix("api/models/").split("/")
        name, action, rest = "/".join(path[:2]), path[2] if len(path) > 2 else "", path[3:]
        repo = self.repos.get(name)
        if self.status != 200:
            return self._refuse(self.status, "")
        if repo is None:
            return self._refuse(404, "RepoNotFound")
        if not rest or rest[0] not in {"main", COMMIT}:
            return self._refuse(404, "RevisionNotFound")
        if action == "resolve":
            return self._file(repo, rest[-1])
        return self._json(_info(name, repo) if action == "revision" else _tree(repo))

    do_HEAD = do_GET  # noqa: N815

    def _file(self, repo: Repo, name: str) -> None:
        if repo.gated and (not repo.token or self.headers["Authorization"] != f"Bearer {repo.token}"):
            return self._refuse(403, "GatedRepo")
        return self._send(200, repo.files[name], ETag=f'"{name}"', **{"X-Repo-Commit": COMMIT})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", **({"X-Error-Code": code} if code else {}))

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


def _info(name: str, repo: Repo) -> dict[str, object]:
    siblings = [{"rfilename": file, "size": len(content)} for file, content in repo.files.items()]
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}


def _tree(repo: Repo) -> list[dict[str, object]]:
    return [
        {"type": "file", "path": file, "size": len(content), "oid": COMMIT}
        for file, content in repo.files.items()
    ]

"""Where the client itself is the limit: a server sends many streams of tokens at a given pace, or as fast as
it can; how much later than they were written did the client stamp them?

    python -m benchmarks.client_limit [--streams 1,4,16,64,128] [--paces 20,50,100]

The server is a process of its own that computes nothing. Both read the machine's one monotonic clock, so the
difference of their stamps is the lateness; it holds the server's own pace and the kernel as well.
"""

import argparse
import json
import multiprocessing
import os
import selectors
import socket
import time
from multiprocessing.connection import Connection as Pipe

from engine.stats.metrics import percentile
from engine.worker.served.connection import Connection
from engine.worker.served.events import events
from engine.worker.served.load_test.many import Many
from engine.worker.served.reads import request

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FILLING = "x" * 150  # a chunk of OpenAI's interface has about 250 bytes


def serve(up: Pipe, streams: int, tokens: int, pace: float) -> None:
    """Answer so many requests at once; with a pace of 0 as fast as the sockets take it."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2 * streams)
    up.send(listening.getsockname()[1])
    waiting = [listening.accept()[0] for _ in range(streams)]
    for each in waiting:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    poll = selectors.DefaultSelector()
    for each in waiting:
        poll.register(each, selectors.EVENT_READ)
    asked: set[socket.socket] = set()
    while len(asked) < streams:
        for key, _ in poll.select():
            data = key.fileobj.recv(1 << 16)
            if data.startswith(b"GET"):
                key.fileobj.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            elif data.startswith(b"POST"):
                asked.add(key.fileobj)
    for each in waiting:
        each.sendall(HEAD)
    began_s, behind_ms = time.monotonic(), []
    for token in range(tokens):
        if pace:
            due_s = began_s + token / pace
            time.sleep(max(0.0, due_s - time.monotonic()))
        for each in waiting:
            event = {"sent": time.monotonic_ns(), "choices": [{"delta": {"content": FILLING}}]}
            data = b"data: %s\n\n" % json.dumps(event).encode()
            each.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        if pace:
            behind_ms.append((time.monotonic() - due_s) * 1e3)
    for each in waiting:
        each.sendall(b"0\r\n\r\n")
    up.send(percentile(behind_ms, 95) or 0.0)
    up.recv()


def measured(streams: int, tokens: int, pace: float) -> dict[str, float]:
    """One run."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there, streams, tokens, pace), daemon=True)
    server.start()
    root = f"http://127.0.0.1:{here.recv()}"
    ask = [request("POST", "/v1/chat/completions", {"stream": True})] * streams
    many = Many(lambda: Connection(root), "/health", ask, streams)
    taken, client = many.run(lambda: False, lambda done: None)
    behind_ms = here.recv()
    here.send("end")
    server.join()
    late_ms: list[float] = []
    reads = 0
    for each in taken:
        assert each.error is None, each.error
        reads += len({read.ns for read in each.reads})
        for ns, data in events(each.reads, "sse"):
            late_ms.append((ns - json.loads(data)["sent"]) / 1e6)
    if len(late_ms) != streams * tokens:
        raise SystemExit(f"{len(late_ms)} events came of {streams * tokens}")
    span_s = (max(r.ns for t in taken for r in t.reads) - min(r.ns for t in taken for r in t.reads)) / 1e9
    return {
        "streams": streams,
        "pace": pace,
        "tok/s": len(late_ms) / span_s,
        "joined %": 100 * (1 - reads / len(late_ms)),
        "late p50 ms": percentile(late_ms, 50) or 0.0,
        "late p95 ms": percentile(late_ms, 95) or 0.0,
        "client woke late p95 ms": client.late_ms,
        "client CPU %": 100 * client.cpu_share,
        "server behind p95 ms": behind_ms,
    }


def main() -> None:
    """Print a row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", default="1,4,16,64,128")
    parser.add_argument(
        "--paces", default="20,50,100,0", help="tokens a second a stream; 0 is as fast as it goes"
    )
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for streams in map(int, given.streams.split(",")):
        for pace in map(float, given.paces.split(",")):
            tokens = int(given.seconds * pace) if pace else max(200, 4_000 // streams)
            row = measured(streams, tokens, pace)
            print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()

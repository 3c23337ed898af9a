"""Calls a second to a real node, over connections that stay open, against a bare handler that sends the same bytes.

The callers are this process. They send one request that was made in advance and look only for the answer's end: so
it is the servers that are measured.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from deepblock.types import Body
from node.chain import Chain
from node.config import load_params
from node.storage.database import Database
from tests.bench.bare import bare
from tests.bench.chains import grow
from tests.bench.table import Row, paired
from tests.functional.nodes import Node, running

CONNECTIONS = 8
HEIGHT = 10
"""Of the node's chain."""
CALLS: dict[str, list[int]] = {"chain_head": [], "chain_getBlock": [HEIGHT]}
"""Methods with their parameters. Both tell of the head."""


def measure(count: int = 6, span: float = 0.5) -> Iterator[Row]:
    """`count` pairs of spans of `span` seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Database(folder / "chain") as database:
            *_, head = grow(Chain(database, load_params("devnet")), [Body()] * HEIGHT)
        node = Node(folder, "--no-mine", "--log-level", "info", network="devnet")
        with running(node):
            node.start()
            port = urlsplit(node.facts["rpc"]).port or 0
            for method, params in CALLS.items():
                callers = Callers(method, params, str(head.id))
                _, answer = callers.call(port, 0)
                file = folder / f"{method}.json"
                file.write_bytes(answer)
                with bare("http", file) as other:
                    pairs = [
                        (callers.call(port, span)[0], callers.call(other, span)[0]) for _ in range(count)
                    ]
                how = f"bare aiohttp, the same {len(answer):,} bytes; {CONNECTIONS} connections"
                yield paired(f"JSON-RPC {method}", "calls/s", pairs, how)


class Callers:
    """They call one method and expect a block's `id` in every last answer."""

    def __init__(self, method: str, params: list[int], id: str) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._request = (
            f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        self._id = id

    def call(self, port: int, span: float) -> tuple[float, bytes]:
        """Calls a second for `span` seconds (at least one on each connection), and the last answer."""
        calls, took, answer = uvloop.run(self._call(port, span))
        assert json.loads(answer)["result"]["id"] == self._id
        return calls / took, answer

    async def _call(self, port: int, span: float) -> tuple[int, float, bytes]:
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        began = time.perf_counter()
        done = await asyncio.gather(
            *(self._one_after_another(*connection, began + span) for connection in connections)
        )
        took = time.perf_counter() - began
        for _, writer in connections:
            writer.close()
        return sum(calls for calls, _ in done), took, done[-1][1]

    async def _one_after_another(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float
    ) -> tuple[int, bytes]:
        """The number of calls, and the last answer."""
        calls = 0
        while True:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            calls += 1
            if time.perf_counter() > until:
                return calls, answer

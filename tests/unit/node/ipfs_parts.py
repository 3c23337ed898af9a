"""What the tests of IPFS share: doors over block stores, and a daemon's HTTP API that does as it likes."""

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from deepblock.blockstore import Blockstore, Missing
from deepblock.cid import Cid
from deepblock.unixfs import split_file
from node.ipfs.embedded import Embedded
from node.p2p.door import Door
from node.p2p.events import Blocks
from tests.unit.node.p2p_parts import make_door


def blocks_of(store: Blockstore) -> Blocks:
    """What `node.serve` offers, of a store alone."""

    async def has(cids: Sequence[Cid]) -> list[bool]:
        return [store.has(cid) for cid in cids]

    async def read(cids: Sequence[Cid], budget: int) -> list[bytes | None]:
        found: list[bytes | None] = []
        for cid in cids:
            try:
                block = store.get_block(cid, afresh=False)
            except Missing:
                block = None
            budget -= len(block or b"")
            if budget < 0 and found:
                break
            found.append(block)
        return found

    return Blocks(has, read)


@asynccontextmanager
async def serving(*stores: Blockstore, **kwargs) -> AsyncIterator[list[Door]]:
    """A started door for each store, connected to nobody."""
    made = [make_door(blocks=blocks_of(store), **kwargs) for store in stores]
    try:
        for door in made:
            await door.start()
        yield made
    finally:
        for door in made:
            await door.stop()


async def fetch_file(source, store: Blockstore, cid: Cid, at_once: int = 64) -> None:
    """As a Fetcher does, from this source alone."""
    while missing := store.missing(cid):
        found = await source.blocks(cid, missing[:at_once])
        assert found, f"{missing[0]} is not to be had"
        for name, data in found.items():
            store.put_block(data, name.codec)


def embedded(door: Door, *others: Door, **kwargs) -> Embedded:
    return Embedded(door, [other.addrs[0] for other in others], **kwargs)


@dataclass
class StandInDaemon:
    """Of Kubo's HTTP API what a node uses. `answer`: called with the path before anything else; what it returns is sent
    in place of the truth. `streams`: by path, what is sent in chunks before the connection is cut, so many seconds of
    silence later."""

    files: dict[str, bytes] = field(default_factory=dict)  # blocks by CID
    whole: dict[str, bytes] = field(default_factory=dict)
    pins: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    answer: Callable[[str], bytes | None] = lambda path: None
    streams: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    addr: str = ""
    close: Callable[[], None] = lambda: None

    def hold(self, data: bytes) -> Cid:
        cid, blocks = split_file(data)
        self.files |= {str(name): block for name, block in blocks.items()}
        self.whole[str(cid)] = data
        return cid

    def reply(self, url: str, body: bytes) -> tuple[int, bytes]:
        path, query = urlparse(url).path.removeprefix("/api/v0"), parse_qs(urlparse(url).query)
        self.asked.append(path)
        if (instead := self.answer(path)) is not None:
            return 200, instead
        name = query.get("arg", [""])[0]
        match path:
            case "/version":
                return 200, json.dumps({"Version": "0.99.0"}).encode()
            case "/block/get" if name in self.files:
                return 200, self.files[name]
            case "/cat" if name in self.whole:
                start, size = int(query.get("offset", ["0"])[0]), int(query["length"][0])
                return 200, self.whole[name][start : start + size]
            case "/block/get" | "/cat":
                return 500, json.dumps({"Message": "context deadline exceeded", "Type": "error"}).encode()
            case "/add":
                assert query["raw-leaves"] == ["True"] and query["cid-version"] == ["1"]
                cid = self.hold(body)
                self.pins.add(str(cid))
                return 200, json.dumps({"Hash": str(cid), "Name": str(cid)}).encode()
            case "/pin/rm" if name in self.pins:
                self.pins.discard(name)
                return 200, json.dumps({"Pins": [name]}).encode()
            case "/pin/rm":
                return 500, json.dumps({"Message": "not pinned or pinned indirectly"}).encode()
        return 404, b""


@contextmanager
def standing_in(port: int = 0, **kwargs) -> Iterator[StandInDaemon]:
    """One that listens on loopback."""
    daemon = StandInDaemon(**kwargs)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            path = urlparse(self.path).path.removeprefix("/api/v0")
            if path in daemon.streams:
                return self._break_off(*daemon.streams[path])
            status, data = daemon.reply(self.path, self._body())
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status == 500 else "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _break_off(self, data: bytes, silence: float) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(data), 4096):
                piece = data[start : start + 4096]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(silence)
            self.close_connection = True

        def _body(self) -> bytes:
            """The file of a multipart request, which comes in chunks."""
            sent = bytearray()
            while self.headers.get("Transfer-Encoding") == "chunked":
                size = int(self.rfile.readline(), 16)
                sent += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    break
            if not sent:
                return b""
            kind = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            (part,) = message_from_bytes(kind + bytes(sent)).get_payload()
            return part.get_payload(decode=True)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    daemon.addr = f"/ip4/127.0.0.1/tcp/{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()

    daemon.close = close
    try:
        yield daemon
    finally:
        close()


def store_in(folder: Path, name: str) -> Blockstore:
    return Blockstore(folder / name)

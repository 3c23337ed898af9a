"""A checkpoint of 20 MB by each way into IPFS: the same CID, and the speed beside a bare libp2p stream of it.

The other side is another process: a node of ours, Kubo's core (0.22), or js-ipfs. Each way is measured beside a bare
stream of the same moments in the same direction between the same two programs, and, where those are not both ours,
beside one between two processes of ours. (Kubo mounts a stream on a local socket: its bare streams are copied once
more. A daemon's is one bare HTTP request to it, `add` or `cat`; no libp2p stream lies under that, so it is held to the
slower of its own request and a stream of ours.) Blocks are hashed and stay in memory, those of the others too: a bare
stream knows no disk, and how fast one is depends on how full it is. `on the disk` is the same with a block store in
which each block is synced, as a node has it.
"""

import asyncio
import gc
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import structlog
import uvloop

from deepblock import codec
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.unixfs import file_cid, parts, split_file, whole
from node import car
from node.commands import TURN
from node.fetch import Fetcher
from node.ipfs.embedded import Embedded
from node.ipfs.kubo import Kubo
from node.messages import MAX_PIECES, PIECES_BUDGET, WANT, Want
from node.p2p import wire
from node.p2p.door import Door
from tests.interop.tools import JsIpfs, Talking, address, forwarded, js_ipfs, kubo_core, pulled
from tests.unit.node.ipfs_parts import blocks_of
from tests.unit.node.p2p_parts import make_door

SIZE = 20_000_000
"""Bytes."""
TURNS = 25
WANTED = 0.5
"""Of a bare stream's speed."""
BARE = "/x/bare/1"
"""Kubo mounts only protocols that begin so."""
IN_MEMORY = Path("/dev/shm")
"""Linux has a file system there that is none."""
ADDED = "cid-version=1&raw-leaves=true&chunker=size-262144&pin=true"
"""As `node.ipfs.daemon` adds a file."""


@dataclass
class Memory:
    """A block store's part that a transfer needs, without a disk."""

    here: dict[Cid, bytes] = field(default_factory=dict)

    def missing(self, cid: Cid, max_size: int | None = None) -> list[Cid]:
        if cid not in self.here:
            return [cid]
        waiting, missing = [whole(cid, self.here[cid])], []
        while waiting:
            part = waiting.pop()
            if part.cid not in self.here:
                missing.append(part.cid)
            elif part.height:
                waiting += parts(part, self.here[part.cid])
        return list(dict.fromkeys(reversed(missing)))

    def put_verified(self, cid: Cid, data: bytes) -> None:
        self.here[cid] = data


def main(folder: Path) -> None:
    """Prints a line for each way. Raises AssertionError where a CID differs or a way is too slow. `folder`: for what is
    measured on the disk."""
    _as_a_node()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else folder) as place:
        memory = Path(place)
        cid = Blockstore(memory / "ours").put_file(os.urandom(SIZE))
        with server(memory) as serving:
            results = uvloop.run(_measure(folder, memory, cid, serving))
    slow = [what for what, ratio in results.items() if ratio < WANTED]
    assert not slow, f"slower than {WANTED:.0%} of a bare stream: {', '.join(slow)}"


async def _measure(disk: Path, folder: Path, cid: Cid, serving: Talking) -> dict[str, float]:
    """One of the others' programs at a time: each has its own work, also when nobody asks it for anything."""
    door = make_door()
    await door.start()
    try:
        peer = await door.connect(serving.facts["addr"])
        bench = Bench(door, peer, cid)
        await _ours(bench, disk)
        with kubo_core(folder / "kubo") as core:
            await _from_kubo(bench, folder, serving, core)
        with kubo_core(folder / "kubo1") as core:
            await _to_kubo(bench, folder, serving, core)
        with kubo_core(folder / "kubo") as core, kubo_core(folder / "kubo2") as other:
            await _kubo_alone(bench, folder, serving, core, other)
        with js_ipfs(folder / "js-ipfs") as daemon:
            await _js_ipfs(bench, folder, daemon)
        return bench.results
    finally:
        await door.stop()


async def _ours(bench: "Bench", folder: Path) -> None:
    for what, way in (("/deepblock/want/1", bench.want), ("bitswap", bench.bitswap(bench.peer))):
        await bench.way(f"embedded to embedded by {what}", way)
        turn = iter(range(TURNS))
        name = what.replace("/", "-")
        fresh = lambda turn=turn, name=name: Blockstore(folder / f"{name}{next(turn)}")  # noqa: E731
        await bench.way(f"embedded to embedded by {what}, on the disk", way, to=fresh, counts=False)


async def _from_kubo(bench: "Bench", folder: Path, serving: Talking, core: Talking) -> None:
    core_id = await bench.door.connect(address(core))
    await asyncio.to_thread(core.ask, do="connect", addr=serving.facts["addr"])
    assert await asyncio.to_thread(core.ask, do="get", cid=str(bench.cid), to=str(folder / "first"))
    mounted = f"/ip4/127.0.0.1/tcp/{serving.facts['bare']}"
    assert await asyncio.to_thread(core.ask, do="listen", protocol=BARE, to=mounted)
    await bench.way(
        "Kubo core to embedded by bitswap", bench.bitswap(core_id), beside=lambda: bench.stream(core_id)
    )


async def _to_kubo(bench: "Bench", folder: Path, serving: Talking, core: Talking) -> None:
    """It knows the server alone: it would ask this process, too."""
    await asyncio.to_thread(core.ask, do="connect", addr=serving.facts["addr"])
    port = await asyncio.to_thread(forwarded, core, BARE, bench.peer)

    async def into_core(to: Any) -> None:
        """Each turn another file: Kubo keeps what it has had. It pins the file, which fetches it into its own
        repository, as a node that keeps a checkpoint does; what it has got is read after that."""
        other = await asyncio.to_thread(serving.ask, do="put", size=SIZE)
        got = folder / "got"
        bench.began = time.perf_counter()
        assert await asyncio.to_thread(core.ask, do="pin", cid=other)
        bench.ended = time.perf_counter()
        assert await asyncio.to_thread(core.ask, do="get", cid=other, to=str(got))
        assert str(file_cid(got.read_bytes())) == other
        got.unlink()

    beside = lambda: asyncio.to_thread(_pull, port)  # noqa: E731
    await bench.way("embedded to Kubo core by bitswap", into_core, to=None, beside=beside)


async def _kubo_alone(bench: "Bench", folder: Path, serving: Talking, core: Talking, other: Talking) -> None:
    """What Kubo reaches with itself, for comparison."""
    await asyncio.to_thread(other.ask, do="connect", addr=address(core))
    mounted = f"/ip4/127.0.0.1/tcp/{serving.facts['bare']}"
    assert await asyncio.to_thread(core.ask, do="listen", protocol=BARE, to=mounted)
    port = await asyncio.to_thread(forwarded, other, BARE, core.facts["id"])

    async def into_other(to: Any) -> None:
        source = folder / "source"
        source.write_bytes(os.urandom(SIZE))
        cid = await asyncio.to_thread(core.ask, do="add", file=str(source))
        bench.began = time.perf_counter()
        assert await asyncio.to_thread(other.ask, do="pin", cid=cid)
        bench.ended = time.perf_counter()

    beside = lambda: asyncio.to_thread(_pull, port)  # noqa: E731
    await bench.way("Kubo core to Kubo core by bitswap", into_other, to=None, beside=beside, counts=False)


async def _js_ipfs(bench: "Bench", folder: Path, daemon: JsIpfs) -> None:
    store = Blockstore(folder / "ours")
    kubo = Kubo(daemon.api, store, folder / "pins.json")
    looking = asyncio.create_task(kubo.run())
    while not kubo.state.startswith("up"):
        await asyncio.sleep(0.1)

    async def into_daemon(to: Any) -> None:
        """Each turn another file, too."""
        other = store.put_file(os.urandom(SIZE))
        await kubo.keep([bench.cid])
        bench.began = time.perf_counter()
        await kubo.keep([bench.cid, other])
        bench.ended = time.perf_counter()
        assert kubo._pinned == {bench.cid, other}, kubo.state

    try:
        port = int(daemon.api.split("/")[4])
        await bench.way(
            "embedded to js-ipfs by the HTTP backend", into_daemon, to=None,
            beside=lambda: asyncio.to_thread(_post, port, f"add?{ADDED}", os.urandom(SIZE)), http=True,
        )  # fmt: skip
        await bench.way(
            "js-ipfs to embedded by the HTTP backend",
            lambda to: Fetcher(_nobody(), None, to, (kubo,)).file(bench.cid, SIZE),
            beside=lambda: asyncio.to_thread(_post, port, f"cat?arg={bench.cid}"),
            http=True,
        )
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


class Bench:
    """Each way beside a bare stream from `peer`, in turns."""

    def __init__(self, door: Door, peer: str, cid: Cid) -> None:
        self.results: dict[str, float] = {}
        self.began = self.ended = 0.0
        self.door, self.peer, self.cid = door, peer, cid

    def want(self, to: Any) -> Awaitable[None]:
        return Fetcher(self.door, SimpleNamespace(penalise=print), to).file(self.cid, SIZE, self.peer)

    def bitswap(self, of: str) -> Callable[[Any], Awaitable[None]]:
        return lambda to: Fetcher(_nobody(), None, to, (_Bitswap(self.door, of),)).file(self.cid, SIZE)

    async def way(
        self, what: str, transfer: Callable[[Any], Awaitable[None]], to: Any = Memory,
        beside: Callable[[], Awaitable[float]] | None = None, counts: bool = True, http: bool = False,
    ) -> None:  # fmt: skip
        """`to`: makes what it goes into; None where that is not this process. `beside`: the speed of a bare stream
        between the two, where they are not both ours. `counts`: must be fast enough. `http`: `beside` is no stream."""
        speeds: list[float] = []
        bare: dict[str, list[float]] = {"of ours": []}
        for _ in range(TURNS):
            bare["of ours"].append(await self.stream(self.peer))
            if beside:
                bare.setdefault("of the two", []).append(await beside())
            place = to and to()
            self.began = time.perf_counter()
            self.ended = 0.0
            await transfer(place)
            self.ended = self.ended or time.perf_counter()
            speeds.append(SIZE / 1e6 / (self.ended - self.began))
            if place is not None:
                assert not place.missing(self.cid), what
        line = f"{what:56} {median(speeds):6.1f} MB/s"
        ratios = []
        for whose, streams in bare.items():
            ratios.append(median(speed / stream for speed, stream in zip(speeds, streams, strict=True)))
            line += f"; a bare stream {whose} {median(streams):6.1f} MB/s: {ratios[-1]:.0%}"
        print(line, flush=True)
        if counts:
            self.results[what] = max(ratios) if http else ratios[-1]

    async def stream(self, peer: str) -> float:
        """MB/s."""
        began = time.perf_counter()
        reply = await self.door.ask(peer, BARE, b"", timeout=60, max_reply=SIZE)
        assert len(reply) == SIZE
        return _speed(began)


def _speed(began: float) -> float:
    """MB/s."""
    return SIZE / 1e6 / (time.perf_counter() - began)


class _Bitswap:
    """The embedded backend, asking one peer only."""

    def __init__(self, door: Door, peer: str) -> None:
        self._source = Embedded(door, ())
        self._source._sources = lambda: [peer]  # type: ignore[method-assign]
        self.batch = self._source.batch

    async def blocks(self, file: Cid, cids: Any) -> dict[Cid, bytes]:
        return await self._source.blocks(file, cids)


def _as_a_node() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    sys.setswitchinterval(TURN)
    gc.freeze()


def _nobody() -> Any:
    return SimpleNamespace(peers=list)


def _pull(port: int) -> float:
    """MB/s."""
    began = time.perf_counter()
    assert len(pulled(port)) == SIZE
    return _speed(began)


def _post(port: int, what: str, file: bytes = b"") -> float:
    """One request to a daemon's API. MB/s."""
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
    part += b"Content-Type: application/octet-stream\r\n\r\n"
    body = part + file + b"\r\n--b--\r\n" if file else b""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as daemon:
        began = time.perf_counter()
        kind = {"Content-Type": "multipart/form-data; boundary=b"} if file else {}
        daemon.request("POST", f"/api/v0/{what}", body, kind)
        reply = daemon.getresponse()
        data = reply.read()
        assert reply.status == HTTPStatus.OK and (file or len(data) == SIZE), data[:200]
        return _speed(began)


# --- the other node ----------------------------------------------------------------------------------------


@contextmanager
def server(folder: Path) -> Iterator[Talking]:
    """A process with a door over the block store in `folder`/ours."""
    command = [sys.executable, "-m", "tests.network.ipfs", str(folder / "ours")]
    with Talking(command, folder / "server.log", cwd=Path(__file__).parents[2]) as process:
        yield process


async def _serve(store: Blockstore) -> None:
    blocks, bare = blocks_of(store), os.urandom(SIZE)

    async def want(peer: str, request: bytes) -> bytes:
        cids = codec.decode(Want, request, 1 << 16).cids[:MAX_PIECES]
        found = zip(cids, await blocks.read(cids, PIECES_BUDGET), strict=False)
        return car.write((cid, piece) for cid, piece in found if piece is not None)

    async def stream(peer: str, request: bytes) -> bytes:
        return bare

    door = make_door(handlers={WANT: want, BARE: stream}, blocks=blocks)
    await door.start()
    mounted = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_answer, args=(mounted, bare), daemon=True).start()
    print(json.dumps({"addr": door.addrs[0], "bare": mounted.getsockname()[1]}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        made, parts_of = split_file(os.urandom(order["size"]))
        for name, block in parts_of.items():
            store.put_block(block, name.codec)
        print(json.dumps({"result": str(made)}), flush=True)


def _answer(mounted: socket.socket, body: bytes) -> None:
    """To each connection the same reply of our own protocol, for Kubo's bare streams."""
    while True:
        pipe, _ = mounted.accept()
        with pipe, pipe.makefile("rb") as asked:
            asked.read(wire.HEADER.size)
            pipe.sendall(wire.HEADER.pack(wire.OK, len(body)) + body)
            asked.read()  # whoever asked ends first: Kubo's mount resets a stream whose local side has ended


if __name__ == "__main__":
    _as_a_node()
    uvloop.run(_serve(Blockstore(Path(sys.argv[1]))))

"""A node far behind, with three peers: an honest one, one that lies, one that stalls. How fast it catches up, beside
a bare loop that imports the same blocks from memory; and that it goes on where it was killed.

The blocks keep every rule but the audit (nobody trained them), so the nodes run with `--audit headers`: what is
measured is all but training.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue

import uvloop

from deepblock import codec
from deepblock.codec import encode
from deepblock.types import Block, Body
from node import car
from node.chain import Chain
from node.config import load_params
from node.log import configure
from node.mempool import Mempool
from node.messages import HEADERS, MAX_HEADERS, STATUS, WANT, Locate, Status, Want
from node.messages import Chain as Shown
from node.p2p.door import Door
from node.p2p.events import Handler
from node.pipeline import Origin, Pipeline
from node.storage.database import Database
from tests.bench.blocks import Bodies, NoAudits
from tests.bench.chains import Payers, grow
from tests.functional.nodes import Node, happened, running, wait_for

BLOCKS = 2_000
TRANSFERS = 4
"""In a block."""
SILENT = ("--no-mine", "--audit", "headers", "--log-level", "info")

Line = list[tuple[Block, Body]]


def main(folder: Path) -> None:
    line = grown(folder / "source", BLOCKS, "devnet", TRANSFERS)
    bare = bare_rate(folder / "bare", line)
    print(f"bare import loop: {bare:.0f} blocks/s", flush=True)
    source = Node(folder / "source", *SILENT, network="devnet")
    with running(source), liars(line) as (liar, staller):
        source.start()
        peers = (liar, staller, source.address)
        rate = catch_up(Node(folder / "behind", *SILENT, network="devnet"), peers, BLOCKS)
        print(f"from three peers: {rate:.0f} blocks/s, {rate / bare:.2f}× of the bare loop", flush=True)
        before, after = killed_half_way(Node(folder / "killed", *SILENT, network="devnet"), peers, BLOCKS)
        print(f"killed at block {before}; it went on from block {after} and reached {BLOCKS}", flush=True)


def grown(folder: Path, blocks: int, network: str, transfers: int) -> Line:
    """A chain in the data folder of a node that is to serve it, with so many transfers in a block."""
    with Database(folder / "chain") as database:
        chain = Chain(database, load_params(network))
        payers = Payers(chain.network, transfers)
        bodies = [*[Body()] * (2 * chain.params.maturity), payers.funding(1 << 30)]
        bodies += [payers.body(transfers) for _ in range(blocks - len(bodies))]
        return list(zip(grow(chain, bodies), bodies, strict=True))


def bare_rate(folder: Path, line: Line) -> float:
    """Blocks a second through the pipeline, with everything in memory. It logs as a node does."""

    async def publish(topic: str, data: bytes) -> None:
        """There is nobody to tell."""

    async def play(chain: Chain) -> float:
        bodies = Bodies({body.cid: encode(body) for _, body in line})
        mempool = Mempool(chain.params, chain.network)
        pipeline = Pipeline(chain, mempool, bodies, NoAudits(), publish, time.time)
        encoded = [encode(block) for block, _ in line]
        began = time.perf_counter()
        for data in encoded:
            await pipeline.receive(codec.decode(Block, data), Origin("bench"))
        return len(line) / (time.perf_counter() - began)

    folder.mkdir()
    configure(folder, level="warning", as_json=False)
    with Database(folder / "chain") as database:
        return uvloop.run(play(Chain(database, load_params("devnet"))))


def catch_up(node: Node, peers: tuple[str, ...], blocks: int) -> float:
    """Blocks a second from the first connection on."""
    with running(node):
        node.start("--bootstrap", *peers)
        wait_for(lambda: node.height == blocks, 300, "the last block", node)
        node.stop()
    return blocks / (happened(node.events("block")[-1]) - happened(node.events("peer_up")[0]))


def killed_half_way(node: Node, peers: tuple[str, ...], blocks: int) -> tuple[int, int]:
    """The height at which it was killed, at least, and the first that it took after that."""
    with running(node):
        node.start("--bootstrap", *peers)
        wait_for(lambda: node.height > blocks // 2, 300, "half of the blocks", node)
        height = node.height
        node.kill()
        begun = len(node.events("syncing"))
        node.start("--bootstrap", *peers)
        wait_for(lambda: node.height == blocks, 300, "the last block", node)
        return height, int(node.events("syncing")[begun]["from_height"])


@contextmanager
def liars(line: Line) -> Iterator[tuple[str, str]]:
    """The multiaddrs of two peers that say that they have more than anybody: one shows the true headers and then
    serves other bytes for the bodies, the other answers nothing but its status."""
    blocks = [block for block, _ in line]
    heights = {block.id: block.height for block in blocks}
    network = blocks[0].header.parent

    async def status(peer: str, request: bytes) -> bytes:
        return encode(Status(network, blocks[-1].id, 10**9, 2**100, (), ()))

    async def headers(peer: str, request: bytes) -> bytes:
        known = codec.decode(Locate, request).known
        start = next((heights[cid] for cid in known if cid in heights), 0)
        return encode(Shown(tuple(blocks[start : start + MAX_HEADERS])))

    async def other_bytes(peer: str, request: bytes) -> bytes:
        return car.write((cid, os.urandom(64)) for cid in codec.decode(Want, request).cids)

    async def stall(peer: str, request: bytes) -> bytes:
        await asyncio.sleep(3_600)
        raise AssertionError("nobody waits so long")

    ways = ({HEADERS: headers, WANT: other_bytes}, {HEADERS: stall, WANT: stall})
    with ExitStack() as stack:
        yield tuple(stack.enter_context(peer({STATUS: status, **way})) for way in ways)  # type: ignore[misc]


@contextmanager
def peer(handlers: Mapping[str, Handler]) -> Iterator[str]:
    """The multiaddr of a peer that does nothing but answer so, in a thread of its own."""
    came: Queue[str] = Queue()
    loop = asyncio.new_event_loop()
    door = Door(key=os.urandom(32), port=0, host="127.0.0.1", agent="peer/1", topics={}, handlers=handlers)

    async def start() -> None:
        await door.start()
        came.put(door.addrs[0])

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield came.get(timeout=60)
    finally:
        asyncio.run_coroutine_threadsafe(door.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()

"""A file fetched from a real node, against a plain TCP copy of it, both from another process over the loopback.

A fetch encrypts, verifies every piece, and has all of it on the disk when it ends. So it stands beside two baselines:
the copy alone, and the copy put into a block store.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from deepblock.blockstore import Blockstore
from deepblock.unixfs import file_cid
from node.app import BLOBS
from node.chain import Chain
from node.config import load_params
from node.fetch import Fetcher
from node.mempool import Mempool
from node.p2p.door import Door
from node.peers import Peers
from node.serve import Service
from node.storage.database import Database
from tests.bench.bare import bare
from tests.bench.table import Row, paired, seconds
from tests.functional.nodes import Node, running


def measure(size: int = 10_000_000, count: int = 8) -> Iterator[Row]:
    """`size`: bytes of the file. `count`: how often it is fetched."""
    data = os.urandom(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "file"
        file.write_bytes(data)
        Blockstore(folder / "node" / BLOBS).put_file(data)
        node = Node(folder / "node", "--no-mine", "--log-level", "info", network="devnet")
        with running(node), bare("tcp", file) as port:
            node.start()
            runs = uvloop.run(_compare(node.address, port, data, folder, count))
    megabytes = size / 1e6
    what = f"p2p fetch of {megabytes:g} MB"
    pairs = [(megabytes / fetch, megabytes / copy) for fetch, copy, _ in runs]
    yield paired(what, "MB/s", pairs, "plain TCP copy, neither verified nor kept")
    pairs = [(megabytes / fetch, megabytes / (copy + store)) for fetch, copy, store in runs]
    yield paired(what, "MB/s", pairs, "plain TCP copy, then put into a block store")


async def _compare(
    address: str, port: int, data: bytes, folder: Path, count: int
) -> list[tuple[float, float, float]]:
    """Seconds of a fetch, of a copy, and of storing what was copied."""
    with Database(folder / "chain") as database:
        chain = Chain(database, load_params("devnet"))
        handlers = Service(chain, Blockstore(folder / "own"), Mempool(chain.params, chain.network)).handlers
        door = Door(
            key=os.urandom(32), port=0, host="127.0.0.1", agent="bench/1", topics={}, handlers=handlers
        )
        await door.start()
        try:
            peer = await door.connect(address)
            return [await _round(door, peer, port, data, folder / str(turn)) for turn in range(count)]
        finally:
            await door.stop()


async def _round(door: Door, peer: str, port: int, data: bytes, folder: Path) -> tuple[float, float, float]:
    cid = file_cid(data)
    blobs = Blockstore(folder / "fetched")
    began = time.perf_counter()
    await Fetcher(door, Peers(door, []), blobs).file(cid, len(data), peer)
    fetch = time.perf_counter() - began
    assert blobs.get_file(cid, len(data)) == data

    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    copied = await reader.read()
    copy = time.perf_counter() - began
    writer.close()
    assert copied == data
    return fetch, copy, seconds(Blockstore(folder / "stored").put_file, copied)

"""How fast blocks come in: the real pipeline into a real database, without peers and audits.

An empty block is little more than a synced write, a full one little more than its signatures: so these are the
baselines, the same bytes and the same signatures, taken right after each block.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consensus.fork_choice import Node
from deepblock.cid import Cid
from deepblock.codec import encode
from deepblock.transactions import signing_bytes
from deepblock.types import Block, Body
from node.auditor import Auditor
from node.chain import Chain
from node.config import load_params
from node.fetch import Fetcher
from node.mempool import Mempool
from node.pipeline import Origin, Pipeline
from node.storage.database import Batch, Database
from tests.bench.chains import Payers, grow
from tests.bench.table import Row, paired, seconds

SIZES = ((200, 12), (2000, 8))
"""Transfers in a block, and how many such blocks."""
WAITING = 4
"""More blocks of the last size, whose transfers wait in the pool already, as they do in a node that hears of them."""


def measure(
    empty: int = 200, sizes: tuple[tuple[int, int], ...] = SIZES, waiting: int = WAITING
) -> Iterator[Row]:
    """`empty`: blocks without a transfer. They come first, and let the rewards mature that are then paid around."""
    full = sizes[-1][0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Database(folder / "source") as database:
            source = Chain(database, load_params("devnet"))
            payers = Payers(source.network, max(transfers for transfers, _ in sizes))
            bodies = [*[Body()] * empty, payers.funding(1 << 20)]
            bodies += [payers.body(transfers) for transfers, count in sizes for _ in range(count)]
            bodies += [payers.body(full) for _ in range(waiting)]
            blocks = list(grow(source, bodies))
        runs = uvloop.run(_import(folder, source.head, blocks, bodies, waiting))
        pairs = [(1 / took, 1 / write) for took, write, _ in runs[:empty]]
        yield paired("import of empty blocks", "blocks/s", pairs, "bare synced LevelDB batches, same bytes")
        done = empty + 1
        for transfers, count, known in (
            *((*size, "never seen") for size in sizes),
            (full, waiting, "from the pool"),
        ):
            pairs = [(transfers / took, transfers / verify) for took, _, verify in runs[done : done + count]]
            how = f"bare Ed25519 verifications of them; {median(ours for ours, _ in pairs) / transfers:.1f} blocks/s"
            yield paired(f"import of {transfers:,} transfers, {known}", "tx/s", pairs, how)
            done += count


async def _import(
    folder: Path, head: Node, blocks: list[Block], bodies: list[Body], waiting: int
) -> list[tuple[float, float, float]]:
    """For each block the seconds of the pipeline, of a bare write of its batch, and of its bare signatures. The
    transactions of the last `waiting` blocks have come into the pool before."""
    here = {body.cid: encode(body) for body in bodies}
    with Recording(folder / "target") as database, Database(folder / "bare") as bare:
        chain = Chain(database, load_params("devnet"))
        mempool = Mempool(chain.params, chain.network)
        clock = blocks[-1].header.timestamp
        pipeline = Pipeline(chain, mempool, Bodies(here), NoAudits(), _publish, lambda: clock)
        runs = []
        for block, body in zip(blocks, bodies, strict=True):
            data, signed = encode(block), _signed(body)
            if len(runs) >= len(blocks) - waiting:
                for transaction in body.transactions:
                    mempool.add(transaction, chain.state(), block.height)
            began = time.perf_counter()
            await pipeline.receive(data, Origin("bench"))
            took = time.perf_counter() - began
            runs.append((took, seconds(bare.write, database.last), seconds(_verify, signed)))
        assert chain.head == head, f"{chain.head} was reached, not {head}"
    return runs


class Recording(Database):
    """Keeps the last batch, to be written once more elsewhere."""

    last = Batch()

    def write(self, batch: Batch, *, sync: bool = True) -> None:
        super().write(batch, sync=sync)
        self.last = batch


class Bodies(Fetcher):
    """Has them in memory, as if a peer had just sent them."""

    def __init__(self, here: dict[Cid, bytes]) -> None:
        self._here = here

    async def structure(self, cid: Cid, prefer: str | None = None) -> bytes:
        return self._here[cid]


class NoAudits(Auditor):
    """Believes everything."""

    def __init__(self) -> None:
        pass

    async def audit(self, block: Block, body: Body, source: str | None, depth: int = 0) -> None:
        pass


async def _publish(topic: str, data: bytes) -> None:
    """There is nobody to tell."""


def _signed(body: Body) -> list[tuple[bytes, bytes, bytes]]:
    """Key, signature and message of each transaction."""
    return [
        (transaction.payload.sender, transaction.signature, signing_bytes(transaction.payload))
        for transaction in body.transactions
    ]


def _verify(signed: list[tuple[bytes, bytes, bytes]]) -> None:
    for key, signature, message in signed:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)

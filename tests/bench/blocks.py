"""How fast blocks come in: the real pipeline into a real database, without peers and audits.

An empty block is little more than a synced write, a full one little more than its signatures: so these are the
baselines, the same bytes and the same signatures, taken right after each block.
"""

import tempfile
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign_open

from consensus.fork_choice import Node
from deepblock.cid import Cid
from deepblock.codec import decode, encode
from deepblock.transactions import signing_bytes
from deepblock.types import Block, Body
from node.auditor import Auditor
from node.chain import Chain
from node.config import load_params
from node.fetch import Fetcher
from node.mempool import Mempool
from node.pipeline import Origin, Pipeline
from node.signatures import CORES
from node.storage.database import Batch, Database
from tests.bench.chains import Payers, grow
from tests.bench.table import Row, paired, seconds

SIZES = ((200, 12), (2000, 8))
"""Transfers in a block, and how many such blocks."""
ALONE = 4
"""More blocks of the last size, whose signatures are checked in one thread."""
WAITING = 4
"""And more, whose transfers wait in the pool already, as they do in a node that hears of them."""
WAIT = 0
"""In place of a number of threads: of such a block."""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of the pipeline for a block, of a bare write of its batch, of its bare signatures by either library."""

    took: float
    write: float
    openssl: float
    libsodium: float


def measure(
    empty: int = 200,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    alone: int = ALONE,
    waiting: int = WAITING,
    threads: int = CORES,
) -> Iterator[Row]:
    """`empty`: blocks without a transfer. They come first, and let the rewards mature that are then paid around.
    `threads`: that check signatures of transfers which were never seen before; and of some of those 1."""
    full = sizes[-1][0]
    kinds = [
        *((transfers, count, f"{threads} thread{'s' if threads > 1 else ''}") for transfers, count in sizes),
        (full, alone, "1 thread"),
        (full, waiting, "from the pool"),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Database(folder / "source") as database:
            source = Chain(database, load_params("devnet"))
            payers = Payers(source.network, max(transfers for transfers, _ in sizes))
            bodies = [*[Body()] * empty, payers.funding(1 << 20)]
            bodies += [payers.body(transfers) for transfers, count, _ in kinds for _ in range(count)]
            blocks = list(grow(source, bodies))
        ways = [threads] * (len(bodies) - alone - waiting) + [1] * alone + [WAIT] * waiting
        runs = uvloop.run(_import(folder, source.head, list(zip(blocks, bodies, ways, strict=True))))
    pairs = [(1 / run.took, 1 / run.write) for run in runs[:empty]]
    yield paired("import of empty blocks", "blocks/s", pairs, "bare synced LevelDB batches, same bytes")
    done = empty + 1
    for transfers, count, kind in kinds:
        mine = runs[done : done + count]
        done += count
        how = (
            "bare Ed25519 verifications of them by OpenSSL in 1 thread "
            f"({median(run.libsodium / run.took for run in mine):.2f}× of libsodium's in 1 thread); "
            f"{median(1 / run.took for run in mine):.1f} blocks/s"
        )
        pairs = [(transfers / run.took, transfers / run.openssl) for run in mine]
        yield paired(f"import of {transfers:,} transfers, {kind}", "tx/s", pairs, how)


async def _import(folder: Path, head: Node, chain_of: list[tuple[Block, Body, int]]) -> list[Run]:
    """Each block with its body, and how many threads check its signatures; WAIT: its transactions have come into the
    pool before."""
    here = {body.cid: encode(body) for _, body, _ in chain_of}
    with Recording(folder / "target") as database, Database(folder / "bare") as bare:
        chain = Chain(database, load_params("devnet"))
        mempool = Mempool(chain.params, chain.network)
        clock = chain_of[-1][0].header.timestamp
        pipelines = {
            threads: Pipeline(
                chain, mempool, Bodies(here), NoAudits(), _publish, lambda: clock, max(1, threads)
            )
            for threads in {way for _, _, way in chain_of}
        }
        runs = []
        for block, body, way in chain_of:
            data, signed = encode(block), _signed(body)
            for transaction in body.transactions if way == WAIT else ():
                mempool.add(transaction, chain.state(), block.height)
            took = await _timed(_receive(pipelines[way], data))
            write = seconds(bare.write, database.last)
            runs.append(Run(took, write, seconds(_by_openssl, signed), seconds(_by_libsodium, signed)))
        assert chain.head == head, f"{chain.head} was reached, not {head}"
    return runs


async def _receive(pipeline: Pipeline, data: bytes) -> None:
    await pipeline.receive(decode(Block, data), Origin("bench"))


async def _timed(action: Awaitable[object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    await action
    return time.perf_counter() - began


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

    async def structure(self, cid: Cid, prefer: str | None = None, patience: float = 0.0) -> bytes:
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


def _by_openssl(signed: list[tuple[bytes, bytes, bytes]]) -> None:
    for key, signature, message in signed:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)


def _by_libsodium(signed: list[tuple[bytes, bytes, bytes]]) -> None:
    for key, signature, message in signed:
        crypto_sign_open(signature + message, key)

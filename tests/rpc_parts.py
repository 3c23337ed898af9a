"""A node's parts without its network: a real chain, pool, store and RPC server; stand-ins for miner, peers and door."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

from consensus.params import Params
from consensus.template import candidate
from consensus.transition import apply_block
from deepblock.blockstore import Blockstore
from deepblock.cid import RAW, Cid, cid_of_block
from deepblock.data import embedded
from deepblock.keys import Wallet
from deepblock.primitives import DBK, Address, Hash32
from deepblock.spec import Flatten, Linear, ReLU, TaskSpec
from deepblock.transactions import Transaction, Transfer
from deepblock.types import Block, Body, Result, Score, Seal
from deepblock.unixfs import file_cid
from node.chain import Chain
from node.fetch import NotAvailable
from node.mempool import Mempool
from node.miner import MinerStatus
from node.peers import Row
from node.rpc.server import Server
from node.rpc.services import Services
from node.shares import Known
from node.storage.database import Database
from node.sync.progress import SyncStatus

TRAIN, HELDOUT = embedded()

DIGITS = TaskSpec(
    name="digits",
    input_shape=(1, 8, 8),
    input_zero=0,
    input_span=16,
    classes=10,
    layers=(Flatten(), Linear(8), ReLU(), Linear(10)),
    init_seed=Hash32(bytes(32)),
    train=file_cid(TRAIN),
    heldout=file_cid(HELDOUT),
    n_train=1437,
    n_heldout=360,
    segments=3,
    steps=4,
    batch=32,
    lr_high=1 << 29,
    lr_low=1 << 27,
    momentum=1 << 31,
    decay=0,
    bits=10,
)

PARAMS = Params(
    name="parts",
    genesis_time=1_700_000_000,
    base_tasks=(DIGITS, replace(DIGITS, name="other", init_seed=Hash32(b"\1" * 32))),
    block_time=5,
    difficulty_half_life=50,
    share_ratio=4,
    epoch=1,
    fallback_after=8,
    subsidy=50 * DBK,
    halving=2_100_000,
    maturity=2,
    fee_per_byte=10,
    max_transactions=2_000,
    max_shares=8,
    share_age=6,
    max_signals=8,
    max_body=512 << 10,
    max_future=10,
    median_window=11,
    audit_segments=3,
    finality=128,
    min_train=1_000,
    max_task_cost=4,
    max_open_tasks=8,
    pending_blocks=8,
    signal_window=4,
    signals_needed=3,
    plateau=8,
)
"""Two tasks, two epochs of one block each in turn; rewards mature after two."""


def named(text: str) -> Cid:
    """The CID of a file that nobody has."""
    return cid_of_block(text.encode(), RAW)


class SubmittingPipeline:
    """What the RPC uses of the real one: the pool's rules."""

    def __init__(self, chain: Chain, mempool: Mempool) -> None:
        self._chain, self._mempool = chain, mempool

    def submit_transaction(self, transaction: Transaction, way: str) -> None:
        self._mempool.add(transaction, self._chain.state(), self._chain.head.height + 1)


async def _seven() -> int:
    return 7


@dataclass
class StandInKeeper:
    """Keeps whatever it is told to, but for `nowhere`, which nobody has."""

    nowhere: Cid = field(default_factory=lambda: named("a file that no peer has"))
    stored: int = 5 << 20
    quota: int = 1 << 30
    files: list[Cid] = field(default_factory=list)

    def states(self) -> list[tuple[str, str]]:
        return [("embedded", "up"), ("kubo", "down: nothing answers there")]

    def pinned(self) -> tuple[Cid, ...]:
        return tuple(self.files)

    async def pin(self, file: Cid) -> None:
        if file == self.nowhere:
            raise NotAvailable(file)
        self.files.append(file)

    def unpin(self, file: Cid) -> None:
        self.files = [kept for kept in self.files if kept != file]


@dataclass
class Parts:
    """Everything in `folder`. `status` and `rows` are what the miner and the peers say; change them at will."""

    folder: Path
    params: Params = PARAMS
    wallet: Wallet = field(default_factory=lambda: Wallet(b"\7" * 32))
    rows: list[Row] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chain = Chain(Database(self.folder / "chain"), self.params)
        self.mempool = Mempool(self.params, self.chain.network)
        self.blobs = Blockstore(self.folder / "blobs")
        self.status = MinerStatus(mining=True, address=self.wallet.address)
        self.sync = SyncStatus("synced", 0, 0, 100.0, None)
        self.keeper = StandInKeeper()
        self.services = Services(
            chain=self.chain,
            mempool=self.mempool,
            pipeline=SubmittingPipeline(self.chain, self.mempool),
            miner=SimpleNamespace(status=lambda: self.status),
            peers=SimpleNamespace(table=lambda: self.rows, reachability="unknown"),
            door=SimpleNamespace(
                peer_id="12D3KooWMe", addrs=["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWMe"], tasks=_seven
            ),
            sync=SimpleNamespace(status=lambda: self.sync),
            blobs=self.blobs,
            shares=SimpleNamespace(known=lambda: self.known),
            frauds=SimpleNamespace(progress=lambda: (3, 5)),
            audit="sample",
            keeper=self.keeper,
        )

    def next_header(self, body: Body, parent: Cid | None = None):
        below = self.chain.ancestry(parent or self.chain.head.id)
        now = below.timestamps[0] + self.params.block_time
        nonce = len(self.chain.tree.nodes)
        task = self.chain.state(below.parent).schedule().current
        return candidate(
            self.params, self.chain.network, below, body.cid, self.wallet.address, nonce, now, task
        )

    def grow(
        self,
        transactions: Sequence[Transaction] = (),
        loss: int = 360_000_000,
        parent: Cid | None = None,
        signals: Sequence[Cid] = (),
    ) -> Block:
        """A block whose training nobody did (the pipeline would have refused it; the chain takes it)."""
        body = Body(tuple(transactions), signals=tuple(signals))
        header = self.next_header(body, parent)
        names = [f"{header.height}/{header.nonce}/{part}" for part in range(DIGITS.segments)]
        model, score = named(f"{names[0]}/model"), Score(loss, 300)
        return self.commit(
            Block(header, Seal(tuple(map(named, names)), model, score), Result(model, score)), body
        )

    def commit(self, block: Block, body: Body) -> Block:
        state = self.chain.state(block.header.parent)
        apply_block(self.params, state, block, body, self.chain.past(block.header.parent))
        self.chain.commit(block, body, state.delta())
        self.mempool.follow((), body.transactions, self.chain.state(), self.chain.head.height + 1)
        return block

    def transfer(self, to: Address, amount: int, nonce: int = 0, fee: int = 10_000) -> Transaction:
        return self.wallet.sign(Transfer(self.chain.network, self.wallet.key, nonce, fee, to, amount))


@contextmanager
def serving(services: Services) -> Iterator[str]:
    """The RPC server on a loop of its own in a thread; its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = Server(services, port=0)
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

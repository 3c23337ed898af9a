"""Chains of blocks whose training nobody did: the pipeline would have refused them; `Chain` takes them."""

from collections.abc import Sequence
from pathlib import Path

from consensus.ensemble import required_result
from consensus.params import Params
from consensus.template import candidate
from consensus.transition import apply_block
from deepblock.cid import Cid
from deepblock.primitives import Address
from deepblock.transactions import Transaction
from deepblock.types import Block, Body, Score, Seal, Share
from node.chain import Chain
from node.storage.database import Database
from tests.unit.consensus.parts import ALICE, PARAMS, named


def open_chain(folder: Path, params: Params = PARAMS) -> tuple[Chain, Database]:
    database = Database(folder / "chain")
    return Chain(database, params), database


def block_on(
    chain: Chain,
    parent: Cid | None = None,
    transactions: Sequence[Transaction] = (),
    miner: Address = ALICE.address,
    nonce: int = 0,
    seconds: int = PARAMS.block_time,
    loss: int = 1_000_000,
    shares: Sequence[Share] = (),
    signals: Sequence[Cid] = (),
    task: Cid | None = None,
) -> tuple[Block, Body]:
    """A child of `parent` (the head unless said). `nonce` tells siblings apart; `seconds`: after the parent; `task`:
    the scheduled one unless said."""
    below = chain.ancestry(parent or chain.head.id)
    body = Body(tuple(transactions), tuple(shares), tuple(signals))
    now = below.timestamps[0] + seconds
    state = chain.state(below.parent)
    task = task or state.schedule().current
    header = candidate(chain.params, chain.network, below, body.cid, miner, nonce, now, task)
    average, score = named(f"average {header.cid}"), Score(loss, 5)
    segments = chain.specs[task].segments
    states = tuple(named(f"{header.cid} {segment}") for segment in range(segments))
    seal = Seal(states, average, score)
    return Block(header, seal, required_result(seal, state.task(task))), body


def extend(
    chain: Chain, parent: Cid | None = None, transactions: Sequence[Transaction] = (), **choices
) -> Block:
    """Commits such a child."""
    block, body = block_on(chain, parent, transactions, **choices)
    state = chain.state(block.header.parent)
    apply_block(chain.params, state, block, body, chain.past(block.header.parent))
    chain.commit(block, body, state.delta())
    return block


def contents(database: Database) -> dict[bytes, bytes]:
    """The whole database."""
    return dict(database.items(b""))

"""The parts of a node that the RPC and the terminal ask, and what several methods look up in them."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from consensus.fork_choice import Node
from deepblock import api
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.spec import heldout_labels
from deepblock.transactions import Transaction
from deepblock.types import Block, Score
from node.chain import Chain
from node.mempool import Mempool
from node.rpc.registry import NotFound

T = TypeVar("T")


class Pipeline(Protocol):
    def submit_transaction(self, transaction: Transaction, way: str) -> None: ...


class Peers(Protocol):
    @property
    def reachability(self) -> str: ...

    def table(self) -> Sequence[Any]: ...


class Door(Protocol):
    @property
    def peer_id(self) -> str: ...

    @property
    def addrs(self) -> Sequence[str]: ...

    async def tasks(self) -> int: ...


class Shares(Protocol):
    def known(self) -> Sequence[Any]: ...


class Frauds(Protocol):
    def progress(self) -> tuple[int, int]: ...


class Keeper(Protocol):
    stored: int
    quota: int

    def states(self) -> Sequence[tuple[str, str]]: ...

    def pinned(self) -> tuple[Cid, ...]: ...

    async def pin(self, file: Cid) -> None: ...

    def unpin(self, file: Cid) -> None: ...


class HasStatus(Protocol):
    def status(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a node that the RPC and the terminal ask."""

    chain: Chain
    mempool: Mempool
    pipeline: Pipeline
    miner: HasStatus
    peers: Peers
    door: Door
    sync: HasStatus
    blobs: Blockstore
    shares: Shares
    frauds: Frauds
    audit: str
    keeper: Keeper


def answer(cls: type[T], source: Any, **more: Any) -> T:
    """A `cls` with the fields of the same names of `source`, and `more`."""
    names = (field.name for field in dataclasses.fields(cls) if field.name not in more)  # type: ignore[arg-type]
    return cls(**{name: getattr(source, name) for name in names}, **more)


def id_at(node: Services, height: int) -> Cid:
    found = node.chain.id_at(height)
    if found is None:
        raise NotFound(f"there is no block at height {height}; the head is at {node.chain.head.height}")
    return found


def find_block(node: Services, id_: Cid) -> Block:
    found = node.chain.block(id_)
    if found is None:
        raise NotFound(f"there is no block {id_} here")
    return found


def find_node(node: Services, id_: Cid) -> Node:
    found = node.chain.node(id_)
    if found is None:
        raise NotFound(f"block {id_} is not in the tree of blocks")
    return found


def confirmations(node: Services, place: Node) -> int:
    on_chain = node.chain.id_at(place.height) == place.id
    return node.chain.head.height - place.height + 1 if on_chain else 0


def held_out(node: Services, task: Cid, score: Score) -> api.HeldOut:
    return api.HeldOut.of(score, heldout_labels(node.chain.specs[task]))


def held_out_after(node: Services, block: Block) -> api.HeldOut | None:
    """How good the model is that the block leaves; the genesis has trained nothing."""
    return held_out(node, block.header.task, block.result.score) if block.height else None


def ancestors(node: Services, id_: Cid) -> Iterator[Block]:
    """From the block `id_` down to the one after the genesis, newest first."""
    block = find_block(node, id_)
    while block.height:
        yield block
        block = find_block(node, block.header.parent)

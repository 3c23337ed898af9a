"""The methods, each a typed function of the node's parts. Its docstring is its documentation
(`rpc.discover`)."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

import deepblock
from consensus.fork_choice import Node
from consensus.task import bar
from deepblock import api
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.codec import U64
from deepblock.primitives import Address
from deepblock.spec import heldout_labels, parameter_count, session_macs
from deepblock.tensors import file_size, model_manifest
from deepblock.transactions import Transaction
from deepblock.types import Block, Score
from node.chain import Chain
from node.mempool import Mempool
from node.rpc.registry import NotFound, method

T = TypeVar("T")


def _one_sentence(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError("a height or a block id") from None


Height = U64
HeightOrId = Annotated[Height | Cid, WrapValidator(_one_sentence)]


class Pipeline(Protocol):
    async def submit_transaction(self, transaction: Transaction, way: str) -> None: ...


class Peers(Protocol):
    def table(self) -> Sequence[Any]: ...


class Door(Protocol):
    @property
    def peer_id(self) -> str: ...

    @property
    def addrs(self) -> Sequence[str]: ...


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


# --- node -----------------------------------------------------------------------------------------------


@method("node_info")
def node_info(node: Services) -> api.NodeInfo:
    """The node, its network, and how far it is with catching up."""
    params = node.chain.params
    return api.NodeInfo(
        version=deepblock.__version__,
        network_name=params.name,
        network=node.chain.network,
        peer_id=node.door.peer_id,
        addrs=tuple(node.door.addrs),
        peers=sum(peer.connected is not None for peer in node_peers(node)),
        sync=_answer(api.Sync, node.sync.status()),
        pending=len(node.mempool.pending()),
        block_time=params.block_time,
        maturity=params.maturity,
        fee_per_byte=params.fee_per_byte,
    )


@method("node_peers")
def node_peers(node: Services) -> tuple[api.Peer, ...]:
    """Who is connected, and who is remembered for a penalty."""
    return tuple(_answer(api.Peer, row) for row in node.peers.table())


# --- chain ----------------------------------------------------------------------------------------------


@method("chain_head")
def chain_head(node: Services) -> api.Head:
    """The newest block of the heaviest chain, and how good the model is that it made."""
    head = node.chain.head
    block = _block(node, head.id)
    held_out = _held_out_after(node, block)
    return api.Head(
        height=head.height,
        id=head.id,
        parent=head.parent,
        timestamp=head.timestamp,
        age=max(0, int(time.time()) - head.timestamp),
        difficulty=head.difficulty,
        weight=head.weight,
        task=block.header.task,
        task_name=node.chain.specs[block.header.task].name,
        model=block.result.model if held_out else None,
        held_out=held_out,
    )


@method("chain_getBlock")
def chain_get_block(node: Services, block: HeightOrId) -> api.BlockInfo:
    """A block by its height on the heaviest chain, or by its id, be it on that chain or not."""
    id_ = block if isinstance(block, Cid) else _id_at(node, block)
    found = _block(node, id_)
    place = _node(node, id_)
    header = found.header
    body = node.chain.body(found)
    return api.BlockInfo(
        id=id_,
        confirmations=_confirmations(node, place),
        weight=place.weight,
        header=header,
        seal=found.seal,
        result=found.result,
        task_name=node.chain.specs[header.task].name,
        starts_from=_starts_from(node, found),
        held_out=_held_out_after(node, found),
        transactions=None if body is None else tuple(transaction.id for transaction in body.transactions),
        body=body,
    )


@method("chain_getHeaders")
def chain_get_headers(
    node: Services, height: Height, count: Annotated[int, Field(strict=True, ge=1, le=api.MAX_HEADERS)] = 16
) -> tuple[api.HeaderInfo, ...]:
    """Headers of the heaviest chain, upwards from a height; fewer than `count` where the chain ends."""
    last = min(height + count - 1, node.chain.head.height)
    ids = (_id_at(node, at) for at in range(height, last + 1))
    return tuple(api.HeaderInfo(id_, _block(node, id_).header) for id_ in ids)


# --- ledger ---------------------------------------------------------------------------------------------


@method("state_getAccount")
def state_get_account(node: Services, address: Address) -> api.AccountInfo:
    """What an address can spend after the head, what matures later, and the nonce of its next transaction."""
    chain, state = node.chain, node.chain.state()
    account = state.account(address)
    due = range(chain.head.height + 1, chain.head.height + chain.params.maturity + 1)
    immature = sum(
        payout.amount for height in due for payout in state.payouts(height).items if payout.address == address
    )
    return api.AccountInfo(
        address=address,
        balance=account.balance,
        immature=immature,
        nonce=account.nonce,
        next_nonce=node.mempool.next_nonce(address, state),
    )


@method("tx_send")
async def tx_send(node: Services, transaction: Transaction) -> Cid:
    """Hands in a signed transaction and returns its id. Error -32000 names the rule that refuses it."""
    await node.pipeline.submit_transaction(transaction, "rpc")
    return transaction.id


@method("tx_get")
def tx_get(node: Services, id: Cid) -> api.TransactionInfo:
    """A transaction that is pending here, or confirmed on the heaviest chain."""
    place = node.chain.locate(id)
    if place is None:
        pending = node.mempool.get(id)
        if pending is None:
            raise NotFound(f"no transaction {id} is pending or confirmed here")
        return api.TransactionInfo(id, "pending", 0, None, None, None, pending)
    block_id, height, index = place
    block = _block(node, block_id)
    body = node.chain.body(block)
    if body is None:
        raise NotFound(
            f"transaction {id} is confirmed at height {height}, but the body of that block is not here"
        )
    confirmations = _confirmations(node, _node(node, block_id))
    return api.TransactionInfo(
        id, "confirmed", confirmations, block_id, height, index, body.transactions[index]
    )


# --- tasks and models -----------------------------------------------------------------------------------


@method("task_list")
def task_list(node: Services) -> tuple[api.TaskSummary, ...]:
    """Every task of this chain and how far it is."""
    return tuple(_summary(node, task) for task in node.chain.specs)


@method("task_get")
def task_get(node: Services, task: Cid) -> api.TaskInfo:
    """A task: what it trains, how good its model is, and the bar that the next session has to pass."""
    summary = _summary(node, task)
    spec, state = node.chain.specs[task], node.chain.state().task(task)
    next_bar = bar(spec, state) + state.offset
    return _answer(
        api.TaskInfo,
        summary,
        bar=next_bar,
        bar_loss=next_bar / (10**6 * heldout_labels(spec)),
        parameters=parameter_count(spec),
        session_macs=session_macs(spec),
        spec=spec,
    )


@method("model_get")
def model_get(
    node: Services,
    task: Cid | None = None,
    last: Annotated[int, Field(strict=True, ge=0, le=api.MAX_LINEAGE)] = 16,
) -> api.ModelInfo:
    """A task's current model (that of the head's task unless said) and the last blocks that made it."""
    chosen = task or _block(node, node.chain.head.id).header.task
    summary = _summary(node, chosen)
    if summary.model is None or summary.held_out is None:
        raise NotFound(f"task {summary.name} has no model yet: no block has trained it")
    return api.ModelInfo(
        task=chosen,
        task_name=summary.name,
        model=summary.model,
        size=file_size(model_manifest(node.chain.specs[chosen])),
        held_out=summary.held_out,
        lineage=_lineage(node, chosen, last),
    )


# --- miner ----------------------------------------------------------------------------------------------


@method("miner_status")
def miner_status(node: Services) -> api.MinerInfo:
    """The session that this node trains, and what came of those before it."""
    status = node.miner.status()
    return api.MinerInfo(
        **{field.name: getattr(status, field.name) for field in dataclasses.fields(api.MinerInfo)}
    )


# --- what they have in common ---------------------------------------------------------------------------


def _answer(cls: type[T], source: Any, **more: Any) -> T:
    """A `cls` with the fields of the same names of `source`, and `more`."""
    names = (field.name for field in dataclasses.fields(cls) if field.name not in more)  # type: ignore[arg-type]
    return cls(**{name: getattr(source, name) for name in names}, **more)


def _id_at(node: Services, height: int) -> Cid:
    found = node.chain.id_at(height)
    if found is None:
        raise NotFound(f"there is no block at height {height}; the head is at {node.chain.head.height}")
    return found


def _block(node: Services, id_: Cid) -> Block:
    found = node.chain.block(id_)
    if found is None:
        raise NotFound(f"there is no block {id_} here")
    return found


def _node(node: Services, id_: Cid) -> Node:
    found = node.chain.node(id_)
    if found is None:
        raise NotFound(f"block {id_} is not in the tree of blocks")
    return found


def _confirmations(node: Services, place: Node) -> int:
    on_chain = node.chain.id_at(place.height) == place.id
    return node.chain.head.height - place.height + 1 if on_chain else 0


def _held_out(node: Services, task: Cid, score: Score) -> api.HeldOut:
    return api.HeldOut.of(score, heldout_labels(node.chain.specs[task]))


def _held_out_after(node: Services, block: Block) -> api.HeldOut | None:
    """How good the model is that the block leaves; the genesis has trained nothing."""
    return _held_out(node, block.header.task, block.result.score) if block.height else None


def _ancestors(node: Services, id_: Cid) -> Iterator[Block]:
    """From the block `id_` down to the one after the genesis, newest first."""
    block = _block(node, id_)
    while block.height:
        yield block
        block = _block(node, block.header.parent)


def _starts_from(node: Services, block: Block) -> Cid | None:
    """The model that the last block of the same task left on the chain below `block`."""
    if block.height == 0:
        return None
    below = (b for b in _ancestors(node, block.header.parent) if b.header.task == block.header.task)
    last = next(below, None)
    return last.result.model if last else None


def _lineage(node: Services, task: Cid, last: int) -> tuple[api.LineageEntry, ...]:
    entries: list[api.LineageEntry] = []
    wanted = min(last, node.chain.state().task(task).blocks)
    ancestors = _ancestors(node, node.chain.head.id)
    while len(entries) < wanted:
        block = next(ancestors)
        if block.header.task == task:
            held_out = _held_out(node, task, block.result.score)
            entries.append(api.LineageEntry(block.height, block.id, block.result.model, held_out))
    return tuple(entries)


def _summary(node: Services, task: Cid) -> api.TaskSummary:
    spec = node.chain.specs.get(task)
    if spec is None:
        raise NotFound(f"there is no task {task} on this chain; task_list names them")
    state = node.chain.state().task(task)
    return api.TaskSummary(
        id=task,
        name=spec.name,
        scheduled=node.chain.state().schedule().current == task,
        blocks=state.blocks,
        model=state.model,
        held_out=_held_out(node, task, state.score) if state.score else None,
    )

"""The methods, each a typed function of the node's parts. Its docstring is its documentation
(`rpc.discover`). Those about tasks and models are in `tasks`."""

import asyncio
import dataclasses
import time
from typing import Annotated, Any

import psutil
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

import deepblock
from consensus.market import max_session_macs
from deepblock import api
from deepblock.cid import Cid
from deepblock.codec import U64
from deepblock.primitives import Address
from deepblock.spec import session_macs
from deepblock.state_proof import account_key
from deepblock.transactions import Transaction
from deepblock.types import Block
from node.rpc.registry import NotFound, method
from node.rpc.services import (
    Services,
    ancestors,
    answer,
    confirmations,
    find_block,
    find_node,
    held_out_after,
    id_at,
)


def _one_sentence(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError("a height or a block id") from None


Height = U64
HeightOrId = Annotated[Height | Cid, WrapValidator(_one_sentence)]


# --- node -----------------------------------------------------------------------------------------------


@method("node_info")
def node_info(node: Services) -> api.NodeInfo:
    """The node, its network, and how far it is with catching up."""
    params = node.chain.params
    replayed, replayable = node.frauds.progress()
    return api.NodeInfo(
        version=deepblock.__version__,
        network_name=params.name,
        network=node.chain.network,
        peer_id=node.door.peer_id,
        addrs=tuple(node.door.addrs),
        reachability=node.peers.reachability,
        peers=sum(peer.connected is not None for peer in node_peers(node)),
        sync=answer(api.Sync, node.sync.status()),
        pending=len(node.mempool.pending()),
        block_time=params.block_time,
        maturity=params.maturity,
        fee_per_byte=params.fee_per_byte,
        min_train=params.min_train,
        max_session_macs=max_session_macs(params),
        base_session_macs=session_macs(params.base_tasks[0]),
        audit=node.audit,
        replayed=replayed,
        replayable=replayable,
        ipfs=tuple(api.IpfsInfo(name, state) for name, state in node.keeper.states()),
    )


@method("node_health")
async def node_health(node: Services) -> api.Health:
    """What the daemon holds of this machine."""
    process = psutil.Process()
    with process.oneshot():
        return api.Health(
            uptime=time.time() - process.create_time(),
            memory=process.memory_info().rss,
            files=process.num_fds(),
            threads=process.num_threads(),
            tasks=len(asyncio.all_tasks()),
            p2p_tasks=await node.door.tasks(),
        )


@method("node_peers")
def node_peers(node: Services) -> tuple[api.Peer, ...]:
    """Who is connected, and who is remembered for a penalty."""
    return tuple(answer(api.Peer, row) for row in node.peers.table())


# --- chain ----------------------------------------------------------------------------------------------


@method("chain_head")
def chain_head(node: Services) -> api.Head:
    """The newest block of the heaviest chain, and how good the model is that it made."""
    head = node.chain.head
    block = find_block(node, head.id)
    held_out = held_out_after(node, block)
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
    """A block by its height on the heaviest chain, or by its id, be it on that chain, beside it, or rejected."""
    id_ = block if isinstance(block, Cid) else id_at(node, block)
    found = find_block(node, id_)
    rejected = node.chain.rejection(id_)
    place = None if rejected else find_node(node, id_)
    header = found.header
    body = node.chain.body(found)
    return api.BlockInfo(
        id=id_,
        confirmations=confirmations(node, place) if place else 0,
        weight=place.weight if place else 0,
        header=header,
        seal=found.seal,
        result=found.result,
        task_name=node.chain.specs[header.task].name,
        starts_from=_starts_from(node, found),
        held_out=held_out_after(node, found),
        transactions=None if body is None else tuple(transaction.id for transaction in body.transactions),
        body=body,
        rejected=rejected,
    )


@method("chain_getHeaders")
def chain_get_headers(
    node: Services, height: Height, count: Annotated[int, Field(strict=True, ge=1, le=api.MAX_HEADERS)] = 16
) -> tuple[api.HeaderInfo, ...]:
    """Headers of the heaviest chain, upwards from a height; fewer than `count` where the chain ends."""
    last = min(height + count - 1, node.chain.head.height)
    ids = (id_at(node, at) for at in range(height, last + 1))
    return tuple(api.HeaderInfo(id_, find_block(node, id_).header) for id_ in ids)


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


@method("state_getProof")
def state_get_proof(node: Services, address: Address) -> api.StateProof:
    """What an address had after the head's parent, with the nodes that show it to whoever has the head's header."""
    if not node.chain.head.height:
        raise NotFound("there is no block above the genesis yet whose header commits to a state")
    header, value, nodes = node.chain.prove(account_key(address))
    shown = None if value is None else value.hex()
    return api.StateProof(address, header, shown, tuple(one.hex() for one in nodes))


@method("tx_send")
async def tx_send(node: Services, transaction: Transaction) -> Cid:
    """Hands in a signed transaction and returns its id. Error -32000 names the rule that refuses it."""
    node.pipeline.submit_transaction(transaction, "rpc")
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
    block = find_block(node, block_id)
    body = node.chain.body(block)
    if body is None:
        raise NotFound(
            f"transaction {id} is confirmed at height {height}, but the body of that block is not here"
        )
    depth = confirmations(node, find_node(node, block_id))
    return api.TransactionInfo(id, "confirmed", depth, block_id, height, index, body.transactions[index])


# --- miner ----------------------------------------------------------------------------------------------


@method("miner_status")
def miner_status(node: Services) -> api.MinerInfo:
    """The session that this node trains, and what came of those before it."""
    status = node.miner.status()
    return api.MinerInfo(
        **{field.name: getattr(status, field.name) for field in dataclasses.fields(api.MinerInfo)}
    )


def _starts_from(node: Services, block: Block) -> Cid | None:
    """The model that the last block of the same task left on the chain below `block`."""
    if block.height == 0:
        return None
    below = (b for b in ancestors(node, block.header.parent) if b.header.task == block.header.task)
    last = next(below, None)
    return last.result.model if last else None

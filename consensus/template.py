"""The first block, and the header that a miner starts a session with (protocol: Header; Session)."""

from consensus.difficulty import floor
from consensus.header import Ancestry, median_time, required_difficulty
from consensus.params import VERSION, Params
from consensus.state import State
from consensus.task import Schedule, TaskState, base_task, specs
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.primitives import Address
from deepblock.state_proof import EMPTY
from deepblock.types import Block, Body, Header, Result, Score, Seal


def genesis(params: Params) -> Block:
    """Rule N1. Block 0. It stands on the parameters: their CID is its network, its parent and its (empty) work, so the
    network's id, which is this block's id, commits to every rule that can differ."""
    constitution = cid_of(params)
    header = Header(
        version=VERSION,
        network=constitution,
        height=0,
        parent=constitution,
        state_root=EMPTY,
        timestamp=params.genesis_time,
        difficulty=floor(params),
        body=Body().cid,
        task=cid_of(params.base_tasks[0]),
        miner=Address(bytes(Address.SIZE)),
        nonce=0,
    )
    nothing = Score(0, 0)
    return Block(header, Seal((), constitution, nothing), Result(constitution, nothing))


def genesis_state(params: Params, state: State) -> None:
    """Rule N2. The tasks of the network, untrained; nobody has paid for the first block's epoch, nor for the next."""
    for task in specs(params):
        state.set_task(task, TaskState())
    epoch = 1 // params.epoch
    state.set_schedule(Schedule(base_task(params, epoch), base_task(params, epoch + 1)))


def candidate(
    params: Params,
    network: Cid,
    below: Ancestry,
    body: Cid,
    miner: Address,
    nonce: int,
    now: int,
    task: Cid,
) -> Header:
    """The header of a session that begins at `now` (Unix seconds) on the chain `below`."""
    return Header(
        version=VERSION,
        network=network,
        height=below.height + 1,
        parent=below.parent,
        state_root=below.state_root,
        timestamp=max(now, median_time(params, below) + 1),
        difficulty=required_difficulty(params, below),
        body=body,
        task=task,
        miner=miner,
        nonce=nonce,
    )

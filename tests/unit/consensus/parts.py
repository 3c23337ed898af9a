"""A small network, and blocks on it whose training nobody did: the rules judge everything but that."""

from collections.abc import Sequence
from dataclasses import replace

from consensus.difficulty import cost
from consensus.header import Ancestry
from consensus.params import Params
from consensus.seal import gate, limit, ticket
from consensus.shares import Below
from consensus.state import State
from consensus.task import TaskState, base_task, specs
from consensus.template import candidate, genesis, genesis_state
from deepblock.cid import RAW, Cid, cid_of_block
from deepblock.codec import cid_of
from deepblock.keys import Wallet
from deepblock.primitives import Address, Hash32
from deepblock.spec import Linear, TaskSpec
from deepblock.transactions import Transaction, Transfer
from deepblock.types import Body, Header, Score, Seal


def named(text: str) -> Cid:
    """The CID of a file that nobody has."""
    return cid_of_block(text.encode(), RAW)


SPEC = TaskSpec(
    name="small",
    input_shape=(4,),
    input_zero=0,
    input_span=16,
    classes=3,
    layers=(Linear(3),),
    init_seed=Hash32(bytes(32)),
    train=named("train"),
    heldout=named("heldout"),
    n_train=64,
    n_heldout=10,
    segments=4,
    steps=2,
    batch=2,
    lr_high=1 << 29,
    lr_low=1 << 27,
    momentum=0,
    decay=0,
    bits=8,
)
"""c = 4 segments · 2 steps · batch 2 · (3 · 12 − 12) = 384 MACs. Guessing costs 10 · 1,098,612."""

OTHER = replace(SPEC, name="other", segments=3)
"""c = 288 MACs."""

GUESSING = 10_986_120

PARAMS = Params(
    name="rules",
    genesis_time=1_000_000,
    base_tasks=(SPEC, OTHER),
    block_time=10,
    difficulty_half_life=40,
    share_ratio=4,
    epoch=4,
    fallback_after=8,
    subsidy=5_000_000_000,
    halving=10,
    maturity=3,
    fee_per_byte=10,
    max_transactions=20,
    max_shares=3,
    share_age=3,
    max_signals=2,
    max_body=8_192,
    max_future=20,
    median_window=5,
    audit_segments=2,
    finality=6,
    min_train=1,
    max_task_cost=4,
    max_open_tasks=3,
    pending_blocks=8,
    signal_window=4,
    signals_needed=3,
    plateau=5,
)
"""Two tasks in epochs of four blocks; the subsidy halves after ten; rewards mature after three. A task is active after
three signals in four blocks, and closes after five without a gain. A block carries three shares, of its
own height and of the two before."""

FLOOR = 4 * 384 << 16
NETWORK = genesis(PARAMS).id
FIRST, SECOND = cid_of(SPEC), cid_of(OTHER)

ALICE, BOB, CAROL = (Wallet(bytes([number]) * 32) for number in (1, 2, 3))
NOBODY = Address(b"n" * 20)


def empty_state() -> State:
    """After the genesis."""
    state = State(lambda key: None)
    genesis_state(PARAMS, state)
    return state


def no_past(block: Cid) -> Below | None:
    """For bodies without shares."""
    return None


def transfer(
    wallet: Wallet, to: Address, amount: int, nonce: int = 0, fee: int = 10_000, network: Cid = NETWORK
) -> Transaction:
    return wallet.sign(Transfer(network, wallet.key, nonce, fee, to, amount))


def ancestry(
    height: int = 0, timestamps: Sequence[int] = (1_000_000,), difficulty: int = FLOOR, parent: Cid = NETWORK
) -> Ancestry:
    return Ancestry(parent, height, Hash32(b"r" * 32), difficulty, timestamps)


def header_on(below: Ancestry, now: int | None = None, body: Cid | None = None, **changes: object) -> Header:
    """What an honest miner would start from, and then `changes`."""
    now = below.timestamps[0] + PARAMS.block_time if now is None else now
    task = base_task(PARAMS, (below.height + 1) // PARAMS.epoch)
    header = candidate(PARAMS, NETWORK, below, body or Body().cid, NOBODY, 0, now, task)
    return replace(header, **changes)


def seal_of(header: Header, loss: int = GUESSING, task: TaskState | None = None, wins: bool = True) -> Seal:
    """A seal whose ticket wins (or does not), with `task` as the state after the parent."""
    spec = specs(PARAMS)[header.task]
    bound = limit(header.difficulty, gate(spec, task or TaskState(), loss), cost(PARAMS, spec))
    attempt = 0
    while True:
        names = [f"{header.cid}/{attempt}/{segment}" for segment in range(spec.segments)]
        seal = Seal(tuple(map(named, names)), named(f"{names[0]}/average"), Score(loss, 5))
        if (ticket(header, seal) < bound) is wins:
            return seal
        attempt += 1

"""Published examples of the rules, on a small network whose training nobody did (tests/vectors/README.md).

python -m tests.rule_vectors      writes tests/vectors/rules/ anew (a change of the rules!)
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from consensus.difficulty import cost
from consensus.rewards import CARRIERS_PART, PLEDGED_PART, slot, subsidy
from consensus.seal import GATE_FAILED, GATE_PASSED, limit, ticket
from deepblock.codec import cid_of, encode
from deepblock.primitives import Hash32, Signature
from deepblock.transactions import CloseTask, FraudProof, FundTask, OpenTask, Transaction, signing_bytes
from deepblock.types import Block, Body, Result, Score, Share
from node.config import load_params
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import (
    ALICE,
    BOB,
    CAROL,
    GUESSING,
    OTHER,
    PARAMS,
    SECOND,
    SPEC,
    named,
    transfer,
)

FOLDER = Path(__file__).parent / "vectors" / "rules"
OFFERED = replace(SPEC, name="offered", n_heldout=1, segments=16)
FEE = 50_000
PAY = PARAMS.subsidy // 2
"""For a block; the subsidy has been halved once when the task is opened."""


# --- a chain that does everything once --------------------------------------------------------------------------


@dataclass(slots=True)
class Story:
    """A chain of valid blocks, and what the invalid ones refer to. `fork`: a block beside the chain; `carried` and
    `proven`: shares that are on it; `task`: a sponsored one."""

    line: Line
    fork: Block
    carried: Share
    proven: Share


def story() -> Story:
    """Alice mines, pays Bob, opens a task, trains it and ends it; shares of both tasks are carried, one is proven
    false."""
    line = Line()
    for _ in range(11):
        line.grow(miner=ALICE.address, seconds=12)
    fork = line.take(line.block(seconds=31), Body())
    line.head = next(cid for cid, (block, _) in line.blocks.items() if block.height == 11)
    offer = OpenTask(line.network, ALICE.key, 1, FEE, OFFERED, PAY, 2 * PAY * PARAMS.epoch, 5_000)
    task = cid_of(OFFERED)
    carried, proven = line.share(miner=BOB.address), line.share(miner=CAROL.address, loss=2 * GUESSING)
    old = line.share(_ago(line, 1), miner=BOB.address)
    bodies = [
        Body((transfer(ALICE, BOB.address, 10**9), ALICE.sign(offer)), (carried, old)),
        Body((BOB.sign(FundTask(line.network, BOB.key, 0, FEE, task, 500)),), (proven,), (task,)),
        Body((ALICE.sign(FraudProof(line.network, ALICE.key, 2, FEE, proven.id, 13, 3)),), (), (task,)),
        Body((), (), (task,)),
        *[Body()] * 4,
    ]
    for body in bodies:
        _tell(line, body)
    late = line.share(_ago(line, 1), miner=BOB.address)  # of the base task's epoch
    _tell(line, Body((), (line.share(_ago(line, 2), miner=CAROL.address),)))
    _tell(line, Body((), (line.share(miner=CAROL.address), late)))
    _tell(line, Body((ALICE.sign(CloseTask(line.network, ALICE.key, 3, FEE, task)),)))
    _tell(line, Body())
    return Story(line, fork, carried, proven)


def _tell(line: Line, body: Body) -> None:
    """The next block."""
    task = line.state().schedule().current
    loss = GUESSING // (10 if task == cid_of(OFFERED) else 1) - _height(line)
    made = line.block(body, loss, miner=ALICE.address)
    if len(body.shares) == 2:  # what the ensemble gives, only a replay can know
        made = replace(made, result=Result(named("ensemble"), Score(loss - 7, 6)))
    line.take(made, body)


# --- blocks that break a rule -----------------------------------------------------------------------------------

Case = tuple[str, str, Callable[[Story], tuple[Block, Body] | tuple[Block, Body, int]]]
"""Rule, error, and the block with its body (and the clock, where it is not the block's timestamp)."""


def _plain(**choices: Any) -> Callable[[Story], tuple[Block, Body]]:
    return lambda found: (found.line.block(**choices), Body())


def _with(body: Callable[[Story], Body]) -> Callable[[Story], tuple[Block, Body]]:
    def made(found: Story) -> tuple[Block, Body]:
        its = body(found)
        return found.line.block(its, 1_000), its

    return made


def _carrying(share: Callable[[Line], Share]) -> Callable[[Story], tuple[Block, Body]]:
    return _with(lambda found: Body((), (share(found.line),)))


def _paying(transaction: Callable[[Story], Transaction]) -> Callable[[Story], tuple[Block, Body]]:
    return _with(lambda found: Body((transaction(found),)))


def _sealed(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Callable[[Story], tuple[Block, Body]]:
    def made(found: Story) -> tuple[Block, Body]:
        block = found.line.block()
        return replace(block, seal=replace(block.seal, states=change(block.seal.states))), Body()

    return made


def _resulting(change: Callable[[Result], Result]) -> Callable[[Story], tuple[Block, Body]]:
    def made(found: Story) -> tuple[Block, Body]:
        block = found.line.block(loss=1_000)
        return replace(block, result=change(block.result)), Body()

    return made


def _missed(found: Story) -> tuple[Block, Body]:
    """It would have won, had it passed the gate."""
    line, header = found.line, found.line.header()
    spec = line.state().known_spec(PARAMS, header.task)
    low, high = (limit(header.difficulty, gate, cost(PARAMS, spec)) for gate in (GATE_FAILED, GATE_PASSED))
    seal = line.seal(header, 2 * GUESSING, lambda drawn: low <= drawn < high)
    return Block(header, seal, Result(seal.average, seal.score)), Body()


def _early(found: Story) -> tuple[Block, Body, int]:
    block = found.line.block()
    return block, Body(), block.header.timestamp - PARAMS.max_future - 1


def _height(line: Line) -> int:
    return line.tree.nodes[line.head].height


def _ago(line: Line, blocks: int) -> Any:
    """A block of the head's chain."""
    cid = line.head
    for _ in range(blocks):
        cid = line.blocks[cid][0].header.parent
    return cid


CASES: dict[str, Case] = {
    "another version": ("B1", "WrongVersion", _plain(version=2)),
    "another network": ("B1", "WrongNetwork", _plain(network=named("network"))),
    "a difficulty below the floor": ("B1", "WrongDifficulty", _plain(difficulty=4 * 384 * 2**16 - 1)),
    "a state too few": ("B2", "WrongStateCount", _sealed(lambda states: states[1:])),
    "a state twice": ("B2", "RepeatedState", _sealed(lambda states: (*states[:-1], states[0]))),
    "another height": ("H1", "WrongHeight", _plain(height=8)),
    "another state": ("H1", "WrongStateRoot", _plain(state_root=Hash32(bytes(32)))),
    "another difficulty": ("H1", "WrongDifficulty", _plain(difficulty=2**40)),
    "no later than the median": ("H4", "TooEarly", _plain(timestamp=1_000_055)),
    "too far ahead of the clock": ("H4", "FromTheFuture", _early),
    "a task whose turn it is not": ("T18", "TaskNotScheduled", lambda found: _plain(
        task=next(cid_of(spec) for spec in (SPEC, OTHER) if cid_of(spec) != found.line.state().schedule().current)
    )(found)),
    "a ticket that misses without the gate": ("G3", "TicketMissed", _missed),
    "a model that is worse than its own average": (
        "E3", "WorseResult", _resulting(lambda own: replace(own, score=Score(1_001, 5)))),
    "another model than its own average": (
        "E4", "WrongResult", _resulting(lambda own: replace(own, model=named("another")))),
    "another body": ("B5", "WrongBody", lambda found: (found.line.block(), Body((), (), (named("x"),)))),
    "four shares where three are allowed": (
        "B5", "TooMany", _with(lambda found: Body((), tuple(found.line.share() for _ in range(4))))),
    "a transaction twice": ("B5", "RepeatedTransaction", _with(
        lambda found: Body((transfer(BOB, BOB.address, 1, 1),) * 2))),
    "a share that is too old": ("C1", "ShareTooOld", _carrying(lambda line: line.share(_ago(line, 3)))),
    "a share of another branch": ("C4", "ShareOfAnotherChain", lambda found: _carrying(lambda line: replace(
        line.share(found.fork.id), header=replace(line.header(found.fork.id), height=_height(line))))(found)),
    "a share that is later than its carrier can know": (
        "C4", "ShareFromTheFuture", _carrying(lambda line: line.share(seconds=31))),
    "a share of another task than its parent's children train": (
        "C3", "TaskNotScheduled", _carrying(lambda line: line.share(task=_unscheduled(line)))),
    "a share with a state too few": ("C2", "WrongStateCount", _carrying(lambda line: _cut(line.share()))),
    "a share that is on the chain": ("C5", "ShareRepeated", lambda found: _carrying(
        lambda line: Share(line.blocks[line.head][0].header, line.blocks[line.head][0].seal))(found)),
    "a share twice": ("C5", "ShareRepeated", _with(
        lambda found: Body((), (found.line.share(nonce=77), found.line.share(nonce=77))))),
    "a transaction of another network": ("L1", "WrongTransactionNetwork", _paying(
        lambda found: transfer(BOB, BOB.address, 1, 1, network=named("network")))),
    "a fee that is too low": ("L1", "FeeTooLow", _paying(lambda found: transfer(BOB, BOB.address, 1, 1, fee=9))),
    "a false signature": ("L1", "BadSignature", _paying(
        lambda found: replace(transfer(BOB, BOB.address, 1, 1), signature=Signature(bytes(64))))),
    "an amount that nobody can have": ("L1", "AmountTooLarge", _paying(
        lambda found: transfer(BOB, BOB.address, 2**64 - 1, 1))),
    "another nonce": ("L3", "WrongNonce", _paying(lambda found: transfer(BOB, BOB.address, 1, 7))),
    "more than there is": ("L3", "CannotPay", _paying(lambda found: transfer(CAROL, BOB.address, 10**12))),
    "a proof of what is burned already": ("F1", "NothingToBurn", _paying(lambda found: BOB.sign(
        FraudProof(found.line.network, BOB.key, 1, FEE, found.proven.id, 13, 3)))),
    "a proof of what is paid already": ("F1", "NothingToBurn", _paying(lambda found: BOB.sign(
        FraudProof(found.line.network, BOB.key, 1, FEE, found.carried.id, 12, 3)))),
    "an offer without money for an epoch": ("T1", "EscrowTooLow", _paying(lambda found: BOB.sign(
        OpenTask(found.line.network, BOB.key, 1, FEE, replace(OFFERED, name="b"), 1_000, 3_999, None)))),
    "an offer that pays less than is minted": ("T19", "PayTooLow", _paying(lambda found: BOB.sign(
        OpenTask(found.line.network, BOB.key, 1, FEE, replace(OFFERED, name="b"), 999, 4_000, None)))),
    "a task that is known": ("T2", "TaskExists", _paying(lambda found: BOB.sign(
        OpenTask(found.line.network, BOB.key, 1, FEE, OFFERED, 1_000, 8_000, None)))),
    "money for a task that is about to close": ("T3", "TaskNotOpen", _paying(lambda found: BOB.sign(
        FundTask(found.line.network, BOB.key, 1, FEE, cid_of(OFFERED), 1)))),
    "a signal for a base task": ("T5", "NotPending", _with(lambda found: Body((), (), (SECOND,)))),
}  # fmt: skip


def _unscheduled(line: Line) -> Any:
    return next(cid_of(spec) for spec in (SPEC, OTHER) if cid_of(spec) != line.state().schedule().current)


def _cut(share: Share) -> Share:
    return replace(share, seal=replace(share.seal, states=share.seal.states[1:]))


# --- the files --------------------------------------------------------------------------------------------------


def blocks(found: Story) -> dict[str, Any]:
    line = found.line
    valid = [
        {
            "id": str(cid),
            "block": encode(block).hex(),
            "body": encode(body).hex(),
            "state_root": str(line.tree.nodes[cid].state_root),
        }
        for cid, (block, body) in line.blocks.items()
    ]
    invalid = []
    for name, (rule, error, made) in CASES.items():
        block, body, *clock = made(found)
        now = clock[0] if clock else block.header.timestamp
        invalid.append(
            {"name": name, "rule": rule, "error": error, "now": now}
            | {"block": encode(block).hex(), "body": encode(body).hex()}
        )
    params = TypeAdapter(type(PARAMS)).dump_python(PARAMS, mode="json")
    return {"params": params, "network": str(line.network), "valid": valid, "invalid": invalid}


def states(found: Story) -> list[dict[str, Any]]:
    """What each block of the head's chain leaves in the state, all of it, and the root of that."""
    line, cid, listed = found.line, found.line.head, []
    while True:
        values = {key.hex(): value.hex() for key, value in sorted(line.values[cid].items())}
        listed.append(
            {"after": str(cid), "state_root": str(line.tree.nodes[cid].state_root), "values": values}
        )
        if cid == line.network:
            return listed[::-1]
        cid = line.blocks[cid][0].header.parent


def encodings(found: Story) -> list[dict[str, Any]]:
    """One transaction of each kind with what is signed of it, a share, a header, a body, a block."""
    listed = [pair for block, body in found.line.blocks.values() for pair in _parts(block, body)]
    first: dict[str, Any] = {}
    for name, value in listed:
        entry = {"type": name, "value": TypeAdapter(type(value)).dump_python(value, mode="json")}
        entry |= {"bytes": encode(value).hex(), "cid": str(cid_of(value))}
        if isinstance(value, Transaction):
            entry |= {"signed": signing_bytes(value.payload).hex()}
        first.setdefault(f"{name} {entry['value'].get('payload', {}).get('kind', '')}", entry)
    return list(first.values())


def _parts(block: Block, body: Body) -> Iterator[tuple[str, Any]]:
    for transaction in body.transactions:
        yield "Transaction", transaction
    if body.shares:
        yield from (("Share", body.shares[0]), ("Body", body), ("Header", block.header), ("Block", block))


def tickets(found: Story) -> list[dict[str, Any]]:
    """Of the blocks and shares of the chain: what they drew, and what a block and a share must be below."""
    line, listed = found.line, []
    for block, body in line.blocks.values():
        for made in (block, *body.shares):
            header, seal = made.header, made.seal
            macs = cost(PARAMS, line.state(header.parent).known_spec(PARAMS, header.task))
            bounds = {
                "block": limit(header.difficulty, GATE_PASSED, macs),
                "block_failed_gate": limit(header.difficulty, GATE_FAILED, macs),
                "share": limit(header.difficulty, GATE_PASSED, macs, PARAMS.share_ratio),
            }
            listed.append(
                {"header": encode(header).hex(), "seal": encode(seal).hex(), "seed": header.seed.hex()}
                | {"macs": macs, "ticket": f"{ticket(header, seal):064x}"}
                | {f"limit_{name}": f"{bound:064x}" for name, bound in bounds.items()}
            )
    return listed


def rewards() -> list[dict[str, Any]]:
    """Of the presets: what a block at a height mints for its miner, and for a share of each age."""
    listed = []
    for name in ("devnet", "testnet"):
        params = load_params(name)
        for height in (1, 2_100_000, 2_100_001, 63_000_001, 10**12):
            whole = subsidy(params, height)
            slots = [slot(params, whole, age) for age in range(params.share_age)]
            listed.append(
                {"network": name, "height": height, "subsidy": str(whole), "miner": str(whole // 2)}
                | {"carrier_by_age": [str(part // CARRIERS_PART) for part in slots]}
                | {"pledge_by_age": [str(part // PLEDGED_PART) for part in slots]}
                | {"share_by_age": [str(part - part // CARRIERS_PART) for part in slots]}
            )
    return listed


def files() -> dict[str, Any]:
    """By the name of the file. The same whenever it is called."""
    found = story()
    return {
        "blocks.json": blocks(found),
        "states.json": states(found),
        "encodings.json": encodings(found),
        "tickets.json": tickets(found),
        "rewards.json": rewards(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {FOLDER / name}")

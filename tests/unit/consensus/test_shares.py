"""Shares: which sessions a block may carry, and that each is carried once."""

from dataclasses import replace

import pytest

from consensus.errors import (
    FalseShare,
    RepeatedState,
    ShareFromTheFuture,
    ShareOfAnotherChain,
    ShareRepeated,
    ShareTooOld,
    TaskNotScheduled,
    TaskUnknown,
    TicketMissed,
    TooEarly,
    WrongDifficulty,
    WrongHeight,
    WrongStateCount,
    WrongStateRoot,
    WrongVersion,
)
from consensus.rewards import burn
from consensus.seal import GATE_PASSED, limit, ticket
from consensus.shares import age, check_share, check_share_chained, lately
from consensus.state import Sessions
from consensus.task import specs
from deepblock.primitives import Hash32
from deepblock.transactions import FraudProof
from deepblock.types import Body, Share
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import ALICE, BOB, FIRST, FLOOR, GUESSING, NETWORK, PARAMS, SECOND, named


@pytest.fixture
def line():
    line = Line()
    for _ in range(4):
        line.grow()
    return line


def carried(line, *shares, **choices):
    body = Body((), shares)
    return line.grow(body, **choices)


def refused(line, share, error):
    """Why a block on the head cannot carry the share, with its numbers."""
    body = Body((), (share,))
    with pytest.raises(FalseShare) as caught:
        line.check(line.block(body), body)
    assert caught.value.share == share.id
    cause = caught.value.__cause__
    assert (type(cause), vars(cause)) == (type(error), vars(error))
    assert caught.value.reason == str(cause)


def by_itself(share):
    check_share(PARAMS, NETWORK, share, specs(PARAMS).get)


# --- by itself --------------------------------------------------------------------------------------------------


def test_a_share_shows_what_a_block_shows_with_a_ticket_r_times_as_high(line):
    share = line.share()
    by_itself(share)
    low, high = (limit(share.header.difficulty, GATE_PASSED, 384, ratio) for ratio in (1, 4))
    assert low <= ticket(share.header, share.seal) < high
    hard = replace(share.header, difficulty=64 * FLOOR)
    with pytest.raises(TicketMissed) as caught:
        by_itself(
            Share(hard, line.seal(hard, GUESSING, lambda drawn: drawn >= limit(64 * FLOOR, 16, 384, 4)))
        )
    assert caught.value.limit == limit(64 * FLOOR, 16, 384, 4)


def test_what_else_a_share_shows(line):
    share = line.share()
    header, states = share.header, share.seal.states
    for false, error in (
        (replace(share, header=replace(header, version=2)), WrongVersion),
        (replace(share, header=replace(header, difficulty=FLOOR - 1)), WrongDifficulty),
        (replace(share, header=replace(header, task=named("t"))), TaskUnknown),
        (replace(share, seal=replace(share.seal, states=states[:3])), WrongStateCount),
        (replace(share, seal=replace(share.seal, states=(*states[:3], states[0]))), RepeatedState),
    ):
        with pytest.raises(error):
            by_itself(false)


def test_there_is_no_gate():
    """A session that did not pass it needs a ticket 16 times as low for a block; as a share it counts all the same."""
    line = Line()
    line.grow(loss=1_000)
    share = line.share(loss=2 * GUESSING)
    carried(line, share)
    assert share.header.cid in line.state().sessions(2).headers


# --- on its chain -----------------------------------------------------------------------------------------------


def test_a_share_stands_on_its_own_parent(line):
    for parent in (line.head, line.blocks[line.head][0].header.parent):
        share, below = line.share(parent), line.below(parent)
        check_share_chained(PARAMS, NETWORK, share, below.ancestry, below.state, share.header.timestamp)
        for change, error in (
            ({"state_root": Hash32(bytes(32))}, WrongStateRoot),
            ({"height": share.header.height + 1}, WrongHeight),
            ({"timestamp": 1_000_000}, TooEarly),
            ({"difficulty": share.header.difficulty + 1}, WrongDifficulty),
            ({"task": FIRST if share.header.task == SECOND else SECOND}, TaskNotScheduled),
        ):
            false = replace(share, header=replace(share.header, **change))
            with pytest.raises(error):
                check_share_chained(PARAMS, NETWORK, false, below.ancestry, below.state, 2_000_000)


def test_a_block_carries_shares_of_its_own_height_and_of_those_before(line):
    ids = list(line.blocks)
    shares = [line.share(parent, miner=ALICE.address) for parent in (ids[3], ids[2], ids[1])]
    block = carried(line, *shares)
    assert [age(PARAMS, block, share) for share in shares] == [0, 1, 2]
    assert line.state().sessions(5).headers == (block.header.cid, *(share.header.cid for share in shares))


def test_older_ones_are_refused(line):
    old = line.share(next(iter(line.blocks)))
    refused(line, old, ShareTooOld(height=2, carrier=5, limit=2))
    carried(line, line.share(list(line.blocks)[1]))


def test_a_share_on_the_carrier_itself_or_above_is_refused(line):
    head = line.head
    above = line.share()
    refused_from = replace(above, header=replace(above.header, height=6))
    refused(line, refused_from, ShareTooOld(height=6, carrier=5, limit=2))
    line.head = line.blocks[head][0].header.parent
    refused(line, above, ShareTooOld(height=5, carrier=4, limit=2))


def test_a_share_of_another_branch_is_refused(line):
    fork = line.blocks[line.head][0].header.parent
    other = line.grow(parent=fork, seconds=11)
    share = line.share(other.id)
    line.head = line.grow(parent=next(cid for cid in line.blocks if line.blocks[cid][0].height == 4)).id
    refused(line, share, ShareOfAnotherChain(other.id))


def test_the_genesis_can_be_a_shares_parent():
    line = Line()
    share = line.share()
    line.grow()
    line.grow(Body((), (share,)))
    assert line.state().sessions(2).headers[1] == share.header.cid


def test_a_share_may_train_another_task_than_its_carrier():
    """The base tasks change after two epochs of four blocks."""
    line = Line()
    while line.state().schedule().current == FIRST:
        line.grow()
    before = line.blocks[line.head][0].header.parent
    share = line.share(before)
    block = carried(line, share)
    assert (share.header.task, block.header.task) == (FIRST, SECOND)


def test_clocks_may_differ_by_what_they_may_differ_for_blocks(line):
    carrier = line.header().timestamp
    carried(line, line.share(timestamp=carrier + PARAMS.max_future))
    carrier = line.header().timestamp
    later = carrier + PARAMS.max_future + 1
    refused(line, line.share(timestamp=later), ShareFromTheFuture(later, carrier, PARAMS.max_future))


def test_a_ticket_that_wins_no_share_is_refused(line):
    line.params = replace(PARAMS, share_ratio=1)
    header = line.header()
    bound = limit(header.difficulty, GATE_PASSED, 384)
    missed = Share(header, line.seal(header, GUESSING, lambda drawn: drawn >= bound))
    body = Body((), (missed,))
    with pytest.raises(FalseShare, match="is not below"):
        line.check(line.block(body), body)


# --- once -------------------------------------------------------------------------------------------------------


def test_a_session_is_carried_once(line):
    share = line.share()
    body = Body((), (share, share))
    with pytest.raises(FalseShare) as caught:
        line.check(line.block(body), body)
    assert isinstance(caught.value.__cause__, ShareRepeated)
    carried(line, share)
    refused(line, share, ShareRepeated(share.header.cid))
    line.grow()
    refused(line, share, ShareRepeated(share.header.cid))
    line.grow()
    refused(line, share, ShareTooOld(height=5, carrier=8, limit=2))


def test_another_seal_makes_it_no_other_session(line):
    share = line.share()
    glued = replace(share, seal=line.seal(share.header, GUESSING - 1, lambda drawn: True))
    assert glued.id != share.id
    carried(line, share)
    refused(line, glued, ShareRepeated(share.header.cid))


def test_a_block_of_this_chain_is_no_share_of_it(line):
    block = line.blocks[line.head][0]
    refused(line, Share(block.header, block.seal), ShareRepeated(block.header.cid))


def test_a_block_of_another_branch_can_be_carried_as_a_share(line):
    """An orphan's work is not thrown away; nor is a block's whose result was false."""
    orphan = line.block()
    line.grow()
    carried(line, Share(orphan.header, orphan.seal))


def test_what_was_carried_on_another_branch_can_be_carried_on_this(line):
    fork = line.head
    share = line.share()
    carried(line, share)
    carried(line, share, parent=fork, seconds=11)


def test_what_was_carried_with_a_false_seal_can_be_carried_anew_once_that_is_proven(line):
    true = line.share(miner=BOB.address)
    false = replace(true, seal=replace(true.seal, average=named("false")))
    height = carried(line, false).height
    with pytest.raises(FalseShare, match="is on this chain already"):
        carried(line, true)
    state = line.state()
    burn(PARAMS, state, height + 1, FraudProof(NETWORK, ALICE.key, 0, 0, false.id, height, 1))
    left = set(lately(PARAMS, state, height + 1))
    assert true.header.cid not in left
    assert left == set(lately(PARAMS, line.state(), height + 1)) - {true.header.cid}


def test_sessions_are_remembered_as_long_as_they_matter(line):
    for height in range(5, 12):
        line.grow()
        kept = [at for at in range(height + 1) if line.state().sessions(at) != Sessions()]
        assert kept == [height - 2, height - 1, height]


def test_a_share_moves_no_gate(line):
    """Only the block's own session does; and its model needs the ensemble, which the audit computes."""
    body = Body((), (line.share(loss=1),))
    block, plain = line.block(body), line.block()
    offsets = [
        line.check(made, its).task(made.header.task).offset for made, its in ((block, body), (plain, Body()))
    ]
    assert offsets[0] == offsets[1]

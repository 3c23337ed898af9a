"""The genesis, and the header that a session starts with."""

from dataclasses import fields, replace

import pytest

from consensus.header import check_header
from consensus.task import Schedule
from consensus.template import candidate, genesis, genesis_state
from deepblock.codec import cid_of
from deepblock.primitives import Hash32
from deepblock.types import Body
from node.config import load_params
from tests.unit.consensus.parts import FIRST, FLOOR, NETWORK, NOBODY, PARAMS, SECOND, ancestry, empty_state


def test_the_genesis_stands_on_the_cid_of_the_parameters():
    block = genesis(PARAMS)
    constitution = cid_of(PARAMS)
    assert block.header.parent == block.header.network == constitution
    assert block.header.timestamp == PARAMS.genesis_time
    assert block.header.difficulty == FLOOR
    assert block.header.task == FIRST
    assert block.header.state_root == bytes(32)
    assert block.height == 0
    assert block.header.body == Body().cid


def test_the_network_of_these_parameters():
    """Pinned: whatever changes this id changes every network's."""
    assert str(NETWORK) == PINNED


PINNED = "bafyreib7alrlxpydjckv3vjkyvdmpkln3qt6aosq5pwdcwxrvdxr53leqm"


@pytest.mark.parametrize("name", [field.name for field in fields(PARAMS)])
def test_every_parameter_makes_another_network(name):
    value = getattr(PARAMS, name)
    changed = (
        value + "'" if isinstance(value, str) else value[::-1] if isinstance(value, tuple) else value + 1
    )
    assert genesis(replace(PARAMS, **{name: changed})).id != NETWORK


def test_the_shipped_networks_differ():
    assert genesis(load_params("devnet")).id != genesis(load_params("testnet")).id


def test_the_first_state_knows_the_tasks():
    state = empty_state()
    assert len(state.delta().changes) == 3
    assert state.task(FIRST).model is None
    assert state.schedule() == Schedule(FIRST, FIRST)
    assert state.open_tasks().items == ()
    short = replace(PARAMS, epoch=1)
    genesis_state(short, state)
    assert state.schedule() == Schedule(FIRST, SECOND), "the first block is in epoch 1"
    assert state.supply().issued == 0


@pytest.mark.parametrize("height", [0, 2, 3, 6, 7])
@pytest.mark.parametrize("late", [-100, 0, 1, 10, 75])
def test_a_candidate_is_a_header_that_the_rules_take(height, late):
    stamps = (1_000_090, 1_000_080, 1_000_075, 1_000_050, 1_000_045)
    below = replace(ancestry(height, stamps, 5 * FLOOR), state_root=Hash32(b"x" * 32))
    now = stamps[0] + late
    header = candidate(PARAMS, NETWORK, below, Body().cid, NOBODY, 7, now, SECOND)
    check_header(PARAMS, NETWORK, header, below, SECOND, max(now, 1_000_076))
    assert header.timestamp == max(now, 1_000_076)
    assert (header.body, header.miner, header.nonce) == (Body().cid, NOBODY, 7)
    assert header.task == SECOND

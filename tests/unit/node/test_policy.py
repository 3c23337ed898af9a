"""What a node keeps, by the chain that it follows, and what becomes of it when the head moves on."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from consensus.fork_choice import Switch
from deepblock.cid import RAW, Cid
from deepblock.keys import Wallet
from deepblock.types import Block, Share
from node import retention
from node.ipfs import keeper, policy
from node.ipfs.keeper import Keeper
from node.ipfs.pins import Pins
from node.ipfs.policy import Policy
from node.retention import Retention
from node.shares import Known
from node.storage.schema import SessionRecord
from tests.rpc_parts import DIGITS, HELDOUT, PARAMS, TRAIN, Parts, named

FINALITY = 3
STRANGER = Wallet(b"\5" * 32).address


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path, params=replace(PARAMS, finality=FINALITY))


@pytest.fixture
def pins(parts):
    return Pins(parts.chain._db)


def policy_of(parts, pins) -> Policy:
    return Policy(parts.chain, SimpleNamespace(known=lambda: parts.known), pins)


def files(block: Block) -> set[Cid]:
    return {*block.seal.states, block.seal.average}


def test_data_states_and_start_models_are_needed(parts, pins):
    blocks = [parts.grow(loss=360_000_000 - height) for height in range(8)]
    kept = policy_of(parts, pins).kept()
    data = {DIGITS.train, DIGITS.heldout}
    live = set().union(*(files(block) for block in blocks[-FINALITY:]))
    before = {
        state.task(task).model
        for state in (parts.chain.state(blocks[-FINALITY - 1].id), parts.chain.state())
        for task in parts.chain.specs
    }
    assert kept.needed == data | live | before
    assert len(before - live) >= 1  # some task was last trained before the live blocks
    assert set(kept.useful) == {block.seal.average for block in blocks} - kept.needed


def test_blocks_beside_the_chain_are_live_too(parts, pins):
    base = parts.grow()
    beside = [parts.grow(parent=base.id), parts.grow(parent=base.id)]
    needed = policy_of(parts, pins).kept().needed
    assert all(files(block) <= needed for block in beside)


def test_who_follows_the_head_needs_no_body_again(parts, pins, monkeypatch):
    following = policy_of(parts, pins)
    read = parts.chain.body

    def body(block: Block):
        assert block.id == parts.chain.head.id, "a body that is not at hand any more"
        return read(block)

    monkeypatch.setattr(parts.chain, "body", body)
    blocks = []
    for _ in range(2 * FINALITY):
        blocks.append(parts.grow())
        following.follow(Switch((), (blocks[-1].id,)))
    assert all(files(block) <= following.kept().needed for block in blocks[-FINALITY:])


def test_shares_the_session_and_what_was_asked_for_are_needed(parts, pins):
    block = parts.grow()
    share = Share(block.header, replace(block.seal, average=named("of a share")))
    parts.known.append(Known(share))
    parts.chain.save_session(SessionRecord(block.header, parts.chain.body(block), (named("of a session"),)))
    pins.add(named("asked for"), "asked")
    pins.add(named("mined"), "mined")
    kept = policy_of(parts, pins).kept()
    assert {named("of a share"), named("of a session"), named("asked for")} <= kept.needed
    assert named("mined") in kept.useful


def test_old_milestones_go_before_the_models_of_the_last_blocks(parts, pins, monkeypatch):
    monkeypatch.setattr(policy, "MODELS", 6)
    monkeypatch.setattr(policy, "MILESTONE", 4)
    blocks = [parts.grow(loss=360_000_000 - height) for height in range(16)]
    pins.add(named("mined"), "mined")
    kept = policy_of(parts, pins).kept()
    heights = {block.seal.average: block.height for block in blocks}
    order = [heights.get(file, "mined") for file in kept.useful]
    assert order == [height for height in ("mined", 4, 8, *range(11, 14)) if height in order]
    assert {"mined", 4, 8, 12} <= set(order)  # the last of the other task, 11, is needed


def test_pins_survive_a_restart_and_an_asked_one_stays_so(parts):
    pins = Pins(parts.chain._db)
    for file, why in (("a", "asked"), ("a", "mined"), ("b", "mined"), ("c", "asked")):
        pins.add(named(file), why)
    pins.remove(named("c"))
    pins.remove(named("unknown"))
    again = Pins(parts.chain._db)
    assert again.of("asked") == (named("a"),) and again.of("mined") == (named("b"),)
    assert named("a") in again and named("c") not in again


def stored(parts, blocks):
    """Puts the files that `Parts.grow` names into the store; returns what tells which are still there."""
    for block in blocks:
        names = [f"{block.height}/{block.header.nonce}/{part}" for part in range(DIGITS.segments)]
        for name in (*names, f"{names[0]}/model"):
            assert parts.blobs.put_block(name.encode(), RAW) in files(block)
    return lambda: {file for block in blocks for file in files(block) if parts.blobs.has(file)}


def test_pinned_files_are_not_forgotten_and_mined_models_are_pinned(parts, pins, monkeypatch):
    monkeypatch.setattr(retention, "MODELS", 4)
    for own, wanted in ((parts.wallet.address, "mined"), (STRANGER, None)):
        kept_back = Retention(parts.chain, parts.blobs, pins, own)
        blocks = [parts.grow(loss=300_000_000 - parts.chain.head.height) for _ in range(8)]
        here = stored(parts, blocks)
        pins.add(blocks[0].seal.states[0], "asked")
        pins.add(blocks[1].seal.average, "asked")
        kept_back.follow(None)
        gone = {file for block in blocks for file in files(block)} - here()
        assert blocks[0].seal.states[1] in gone
        assert not gone & {blocks[0].seal.states[0], blocks[1].seal.average}
        assert (blocks[0].seal.average in gone) == (wanted is None)
        assert (blocks[0].seal.average in pins.of("mined")) == (wanted == "mined")


class Backend:
    name = "stand-in"
    state = "up"

    def __init__(self):
        self.files = None

    async def run(self):
        await asyncio.Event().wait()

    async def keep(self, files):
        self.files = set(files)

    async def blocks(self, file, cids):
        return {}


def test_the_keeper_tells_backends_what_is_kept_and_collects(parts, pins, monkeypatch, caplog):
    block = parts.grow()
    for file in (TRAIN, HELDOUT):
        parts.blobs.put_file(file)
    loose = parts.blobs.put_file(b"loose" * 1000)
    backend = Backend()
    warned = []
    monkeypatch.setattr(keeper.log, "warning", lambda event, **_: warned.append(event), raising=False)

    async def scene():
        kept = Keeper(
            policy_of(parts, pins), pins, parts.blobs, None, [backend], quota=1, every=0.05, young=-1
        )
        task = asyncio.create_task(kept.run())
        while backend.files is None:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        task.cancel()
        assert kept.states() == [("stand-in", "up")]
        assert kept.stored == len(TRAIN) + len(HELDOUT)

    asyncio.run(scene())
    assert files(block) | {DIGITS.train} <= backend.files
    assert not parts.blobs.has(loose) and not parts.blobs.missing(DIGITS.train)
    assert warned == ["storage_over_quota"]  # once


def test_who_is_asked_to_keep_a_file_fetches_it_first(parts, pins):
    fetched = []

    async def file(cid, max_size):
        fetched.append((cid, max_size))

    async def scene():
        kept = Keeper(policy_of(parts, pins), pins, parts.blobs, SimpleNamespace(file=file), [], quota=7)
        await kept.pin(named("wanted"))
        assert (kept.pinned(), fetched) == ((named("wanted"),), [(named("wanted"), 7)])
        kept.unpin(named("wanted"))
        assert kept.pinned() == ()

    asyncio.run(scene())

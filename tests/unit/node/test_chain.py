"""The chain on a real LevelDB: commits, forks, reorganisations, restarts and crashes."""

from dataclasses import replace

import pytest

from consensus.fork_choice import Switch
from consensus.state import Delta, Sessions
from consensus.state_tree import update
from consensus.template import genesis
from consensus.transition import apply_block
from deepblock.codec import encode
from deepblock.primitives import DBK
from deepblock.state_proof import EMPTY
from deepblock.types import Body, Share
from node.chain import Chain
from node.errors import StartError
from node.storage import schema
from node.storage.database import Database, DatabaseCorrupt
from node.storage.schema import SessionRecord
from tests.unit.consensus.parts import ALICE, BOB, CAROL, FIRST, FLOOR, NETWORK, PARAMS, named, transfer
from tests.unit.node.chain_parts import block_on, contents, extend, open_chain


@pytest.fixture
def opened(tmp_path):
    chain, database = open_chain(tmp_path)
    yield chain, database
    database.close()


@pytest.fixture
def chain(opened) -> Chain:
    return opened[0]


def root_of(database: Database) -> bytes:
    """Of the state that is stored, by a tree built anew."""
    return update(EMPTY, dict(database.items(schema.STATE)), lambda name: b"")[0]


def test_a_new_chain_is_the_genesis(chain):
    assert chain.network == chain.head.id == genesis(PARAMS).id == NETWORK
    assert (chain.head.height, chain.head.weight, chain.head.difficulty) == (0, 0, FLOOR)
    assert chain.block(NETWORK) == genesis(PARAMS)
    assert chain.body(genesis(PARAMS)) == Body()
    assert chain.id_at(0) == NETWORK
    assert chain.id_at(1) is None
    assert chain.locator() == (NETWORK,)
    assert chain.state().task(FIRST).blocks == 0


def test_the_root_after_the_genesis_is_that_of_its_state(opened):
    chain, database = opened
    assert chain.head.state_root == root_of(database) != EMPTY


def test_a_commit_stores_the_block_and_moves_the_head(opened):
    chain, database = opened
    block, body = block_on(chain)
    state = chain.state()
    apply_block(PARAMS, state, block, body, chain.past(block.header.parent))
    assert chain.commit(block, body, state.delta()) == Switch((), (block.id,))
    assert chain.head.id == chain.id_at(1) == block.id
    assert chain.head.weight == block.header.difficulty
    assert chain.block(block.id) == block
    assert chain.body(block) == body
    assert chain.raw(block.id) == encode(block)
    assert chain.raw(body.cid) == encode(body)
    assert chain.raw(named("x")) is None
    assert chain.state().task(FIRST).blocks == 1
    assert chain.state(NETWORK).task(FIRST).blocks == 0
    assert chain.head.state_root == root_of(database)
    assert chain.ancestry(block.id).state_root == root_of(database)


def test_an_equal_block_that_comes_second_is_kept_and_does_not_win(chain):
    first = extend(chain)
    block, body = block_on(chain, NETWORK, nonce=1)
    state = chain.state(NETWORK)
    apply_block(PARAMS, state, block, body, chain.past(block.header.parent))
    assert chain.commit(block, body, state.delta()) is None
    assert chain.head.id == chain.id_at(1) == first.id
    assert chain.node(block.id) is not None
    assert chain.block(block.id) == block
    assert chain.state(block.id).task(FIRST).model == block.result.model
    assert chain.state().task(FIRST).model == first.result.model


def mature(chain: Chain, blocks: int = PARAMS.maturity + 1) -> None:
    """Alice can spend 25 DBK."""
    for _ in range(blocks):
        extend(chain)
    assert chain.state().account(ALICE.address).balance == 25 * DBK


def test_a_reorganisation_undoes_and_applies(opened):
    chain, database = opened
    mature(chain)
    fork = chain.head.id
    pay_bob, pay_carol = transfer(ALICE, BOB.address, 5), transfer(ALICE, CAROL.address, 6)
    old = [extend(chain, transactions=(pay_bob,)), extend(chain), extend(chain)]
    assert chain.locate(pay_bob.id) == (old[0].id, 5, 0)
    new = [extend(chain, fork, (pay_carol,), nonce=9, seconds=4)]
    new.append(extend(chain, new[0].id, seconds=1))
    assert chain.head.id == old[-1].id
    assert chain.state(new[-1].id).account(CAROL.address).balance == 6
    assert chain.state().account(BOB.address).balance == 5

    block, body = block_on(chain, new[-1].id, seconds=1)
    state = chain.state(new[-1].id)
    apply_block(PARAMS, state, block, body, chain.past(block.header.parent))
    switch = chain.commit(block, body, state.delta())
    assert switch == Switch((old[2].id, old[1].id, old[0].id), (new[0].id, new[1].id, block.id)), (
        "three lighter blocks give way to three heavier ones"
    )
    assert [chain.id_at(height) for height in range(5, 9)] == [new[0].id, new[1].id, block.id, None]
    assert chain.locate(pay_bob.id) is None
    assert chain.locate(pay_carol.id) == (new[0].id, 5, 0)
    assert chain.state().account(BOB.address).balance == 0
    assert chain.state().account(CAROL.address).balance == 6
    assert chain.state(old[2].id).account(BOB.address).balance == 5
    assert chain.head.state_root == root_of(database)


def test_a_shorter_chain_that_is_heavier_leaves_no_heights_behind(opened):
    chain, database = opened
    fork = [extend(chain) for _ in range(5)][-1]
    for _ in range(4):
        extend(chain)
    late = extend(chain, fork.id, nonce=1, seconds=300)
    back_in_time = extend(chain, late.id, seconds=-300)  # so its child has a high difficulty
    assert chain.head.height == 9
    heavy = extend(chain, back_in_time.id)
    assert (chain.head.id, chain.head.height) == (heavy.id, 8)
    assert len(list(database.items(schema.HEIGHT))) == 9
    assert chain.id_at(9) is None


def test_a_transaction_on_both_sides_is_found_on_the_new_one(chain):
    mature(chain)
    fork = chain.head.id
    pay, other = transfer(ALICE, BOB.address, 5), transfer(ALICE, BOB.address, 6, nonce=1)
    extend(chain, transactions=(pay, other))
    left = extend(chain, fork, nonce=5, seconds=1)
    right = extend(chain, left.id, (pay, other))
    assert chain.head.id == right.id
    assert chain.locate(pay.id) == (right.id, 6, 0)
    assert chain.locate(other.id) == (right.id, 6, 1)


def test_no_deeper_reorganisation_than_agreed(chain):
    trunk = extend(chain)
    for _ in range(PARAMS.finality + 1):
        extend(chain)
    ours = chain.head
    theirs = trunk
    while chain.node(theirs.id).weight <= 2 * ours.weight:
        theirs = extend(chain, theirs.id, nonce=1, seconds=-20)
        assert chain.head == ours
    extend(chain, chain.id_at(2), nonce=1)  # one block less deep, but not heavier
    assert chain.head == ours


def test_a_restart_changes_nothing(tmp_path):
    chain, database = open_chain(tmp_path)
    mature(chain)
    extend(chain, chain.id_at(2), nonce=1)  # beside
    extend(chain, transactions=(transfer(ALICE, BOB.address, 5),))
    chain.reject(named("bad"), "false segment 3")
    record = SessionRecord(block_on(chain)[0].header, Body(), (named("s"),))
    chain.save_session(record)
    before, locator = chain, chain.locator()
    database.close()
    again, database = open_chain(tmp_path)
    assert again.head == before.head
    assert again.tree.nodes == before.tree.nodes
    assert again.locator() == locator
    assert again.rejection(named("bad")) == "false segment 3"
    assert again.rejection(named("good")) is None
    assert again.saved_session() == record
    again.save_session(None)
    assert again.saved_session() is None
    assert again.state().account(BOB.address).balance == 5
    extend(again)
    database.close()


def test_after_a_restart_the_first_seen_still_wins(tmp_path):
    chain, database = open_chain(tmp_path)
    first, second = extend(chain), extend(chain, NETWORK, nonce=1)
    assert chain.node(second.id).weight == chain.head.weight
    database.close()
    again, database = open_chain(tmp_path)
    assert again.head.id == first.id
    database.close()


def test_a_write_that_fails_changes_nothing(opened, monkeypatch):
    """A full disk, a damaged file: memory and database stay as they were, and the block can come again."""
    chain, database = opened
    extend(chain)
    before = contents(database), chain.head, dict(chain.tree.nodes)
    block, body = block_on(chain)
    state = chain.state()
    apply_block(PARAMS, state, block, body, chain.past(block.header.parent))
    write = database.write
    monkeypatch.setattr(
        database, "write", lambda batch, sync=True: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        chain.commit(block, body, state.delta())
    assert (contents(database), chain.head, chain.tree.nodes) == before
    monkeypatch.setattr(database, "write", write)
    chain.commit(block, body, state.delta())
    assert chain.head.id == block.id


def test_a_commit_is_one_synced_batch(opened, monkeypatch):
    chain, database = opened
    writes = []
    write = database.write
    monkeypatch.setattr(
        database, "write", lambda batch, sync=True: (writes.append((batch, sync)), write(batch, sync=sync))
    )
    fork = extend(chain, seconds=20)
    extend(chain, fork.id, seconds=20)
    left = extend(chain, NETWORK, nonce=1, seconds=1)
    left = extend(chain, left.id, nonce=1, seconds=1)
    left = extend(chain, left.id, nonce=1, seconds=1)
    assert chain.head.id == left.id
    assert len(writes) == 5
    assert all(sync for _, sync in writes)


def test_another_networks_folder_is_refused(tmp_path):
    _, database = open_chain(tmp_path)
    database.close()
    other = replace(PARAMS, name="other")
    with (
        Database(tmp_path / "chain") as database,
        pytest.raises(
            StartError, match=f"another network than 'other'.*{NETWORK}.*choose another --data-dir"
        ),
    ):
        Chain(database, other)


def test_another_format_is_refused(tmp_path):
    _, database = open_chain(tmp_path)
    database.close()
    with Database(tmp_path / "chain") as database:
        database._db.put(schema.META_FORMAT, b"0")
        with pytest.raises(StartError, match="has format 0, this program reads 1; start with another"):
            Chain(database, PARAMS)


@pytest.mark.parametrize("key", [schema.META_FORMAT, schema.META_NETWORK, schema.META_HEAD])
def test_a_chain_that_lost_a_key_is_damaged_and_not_begun_anew(tmp_path, key):
    _, database = open_chain(tmp_path)
    database._db.delete(key)
    before = contents(database)
    with pytest.raises(DatabaseCorrupt, match="is damaged .*; move that folder away: the node fetches"):
        Chain(database, PARAMS)
    assert contents(database) == before
    database.close()


def test_an_empty_delta_keeps_the_root(chain):
    block, body = block_on(chain)
    before = chain.head.state_root
    chain.commit(block, body, Delta(()))
    assert chain.head.state_root == before


def test_the_locator_is_dense_at_the_top_and_ends_at_the_genesis(chain):
    def heights() -> list[int]:
        return [chain.node(cid).height for cid in chain.locator()]

    for _ in range(3):
        extend(chain)
    assert heights() == [3, 2, 1, 0]
    for _ in range(57):
        extend(chain)
    assert heights() == [60, 59, 58, 57, 56, 55, 54, 53, 52, 50, 46, 38, 22, 0]


def test_every_state_on_every_branch_can_be_looked_at_without_touching_it(opened):
    chain, database = opened
    blocks = [extend(chain)]
    for number in range(6):
        blocks.append(extend(chain, blocks[number // 2].id, nonce=number))
    before = contents(database)
    for block in blocks:
        state = chain.state(block.id)
        assert state.task(FIRST).blocks == sum(chain.node(block.id).height >= height for height in (1, 2, 3))
        assert state.supply().issued == 25 * DBK * block.height
        state.set_account(BOB.address, state.account(BOB.address))
    assert contents(database) == before


# --- what shares stand on ---------------------------------------------------------------------------------------


def test_shares_stand_on_the_last_blocks_of_their_carriers_chain(chain):
    blocks = [extend(chain) for _ in range(4)]
    side = extend(chain, blocks[1].id, nonce=9)
    past = chain.past(blocks[3].id)
    assert [past(block.id) is not None for block in (*blocks, side)] == [False, True, True, True, False]
    below = past(blocks[1].id)
    assert below and below.ancestry == chain.ancestry(blocks[1].id)
    assert below.state.task(FIRST).blocks == 2
    assert chain.past(side.id)(side.id) and chain.past(side.id)(blocks[0].id)
    assert chain.past(blocks[0].id)(NETWORK)


def test_a_block_with_shares_is_undone_like_any_other(opened):
    chain, database = opened
    extend(chain)
    before = dict(database.items(schema.STATE))
    fork = chain.head.id
    orphan = extend(chain, loss=999_999)
    lighter = extend(chain, fork, nonce=7)
    share = Share(lighter.header, lighter.seal)
    carrier, body = block_on(chain, orphan.id, shares=(share,))
    state = chain.state()
    apply_block(PARAMS, state, carrier, body, chain.past(orphan.id))
    assert len(state.sessions(3).headers) == 2
    chain.commit(carrier, body, state.delta())
    for _ in range(2):
        lighter = extend(chain, lighter.id, seconds=1)
    assert chain.head.id == lighter.id
    assert {key: chain.state(fork).read(key) for key in before} == before
    assert chain.state(fork).sessions(3) == Sessions()


def test_a_false_block_goes_with_all_that_stand_on_it(opened, tmp_path):
    chain, database = opened
    first = extend(chain)
    before = contents(database)
    state = dict(database.items(schema.STATE))
    false = extend(chain, first.id, nonce=1)
    above = extend(chain, false.id)
    switch = chain.invalidate(false.id, "segment 3 is forged")
    assert switch == Switch((above.id, false.id), ())
    assert chain.head.id == first.id
    assert dict(database.items(schema.STATE)) == state
    assert root_of(database) == chain.head.state_root
    assert chain.node(false.id) is chain.node(above.id) is None
    assert chain.rejection(false.id) == "segment 3 is forged"
    assert str(false.id) in chain.rejection(above.id)
    assert chain.block(above.id) == above, "it can still be looked at"
    assert chain.locator() == (first.id, NETWORK)
    assert before.items() <= contents(database).items(), "what was there before is as it was"
    again = Chain(database, PARAMS)
    assert (again.head, again.tree.nodes) == (chain.head, chain.tree.nodes)


def test_the_heaviest_of_the_others_is_the_head_then(chain):
    root = extend(chain)
    false = [extend(chain, root.id, nonce=1)]
    for _ in range(3):
        false.append(extend(chain, false[-1].id))
    short = extend(chain, root.id, nonce=2)
    longer = [extend(chain, root.id, nonce=3)]
    longer.append(extend(chain, longer[-1].id))
    assert chain.head.id == false[-1].id
    switch = chain.invalidate(false[1].id, "no")
    assert chain.head.id in (false[0].id, longer[-1].id)
    assert chain.head.id == longer[-1].id
    assert switch == Switch(tuple(block.id for block in reversed(false)), tuple(block.id for block in longer))
    assert chain.id_at(3) == longer[-1].id
    assert chain.id_at(4) is None
    assert chain.node(short.id)


def test_a_false_block_beside_the_chain_moves_no_head(chain):
    root = extend(chain)
    main = extend(chain, root.id)
    side = extend(chain, root.id, nonce=1)
    assert chain.invalidate(side.id, "no") is None
    assert chain.head.id == main.id
    assert chain.node(side.id) is None

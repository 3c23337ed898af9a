"""The data of tasks: what a node fetches ahead, and what its miner may signal."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from deepblock.blockstore import Blockstore
from deepblock.codec import Malformed, cid_of
from deepblock.data import pack_split
from deepblock.transactions import OpenTask
from deepblock.unixfs import file_cid
from node.fetch import NotAvailable
from node.tasks import TaskData
from tests.rpc_parts import DIGITS, PARAMS, Parts

LONG = replace(DIGITS, segments=64)
"""Long enough to be cheap to check."""
ROOMY = replace(PARAMS, max_task_cost=400, halving=1)
SIZE = 1437 * 65
"""About the bytes of a training split; the held-out one comes with the package."""


class Peers:
    """What is asked of the fetcher: files that others have."""

    def __init__(self, folder, blobs):
        self.theirs, self._ours = Blockstore(folder), blobs
        self.asked = []

    async def file(self, cid, max_size, prefer=None, patience=60.0):
        if not self._ours.missing(cid, max_size):
            return
        self.asked.append(cid)
        if self.theirs.missing(cid, max_size):
            raise NotAvailable(cid)
        self._ours.put_file(self.theirs.get_file(cid, max_size))


class World:
    """A node's parts, and peers that have the data of what is opened."""

    def __init__(self, folder, room=1 << 30):
        self.parts = Parts(folder / "node", ROOMY)
        self.peers = Peers(folder / "peers", self.parts.blobs)
        self.data = TaskData(self.parts.chain, self.parts.blobs, self.peers, room)
        for _ in range(36):  # then there is no subsidy any more, and tasks are cheap
            self.parts.grow()

    def open(self, name, file=None):
        """A task with this training split, one of its own unless said."""
        file = file or split(len(name))
        self.peers.theirs.put_file(file)
        spec = replace(LONG, name=name, train=file_cid(file))
        wallet, chain = self.parts.wallet, self.parts.chain
        nonce = chain.state().account(wallet.address).nonce
        self.parts.grow([wallet.sign(OpenTask(chain.network, wallet.key, nonce, 10**5, spec, 1, 9, None))])
        return cid_of(spec)

    def signals(self):
        asyncio.run(self.data.look())
        return self.data.signals(self.parts.chain.state())


def split(pixel, classes=10):
    labels = np.arange(1437) % classes
    return pack_split(np.full((1437, 1, 8, 8), pixel, np.uint8), labels.astype(np.uint8))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_data_of_open_tasks_are_fetched_and_then_signalled(world):
    one, two = world.open("a"), world.open("bb")
    assert world.data.signals(world.parts.chain.state()) == ()
    assert world.signals() == (one, two)
    asked = list(world.peers.asked)
    assert world.signals() == (one, two)
    assert world.peers.asked == asked, "what is here is not fetched again"


def test_data_that_nobody_has_are_waited_for(world):
    task = world.open("a")
    train = world.parts.chain.specs[task].train
    file = world.peers.theirs.get_file(train, 1 << 20)
    world.peers.theirs.remove(train)
    assert world.signals() == ()
    world.peers.theirs.put_file(file)
    assert world.signals() == (task,)


def test_data_that_are_gone_are_not_signalled(world):
    task = world.open("a")
    assert world.signals() == (task,)
    train = world.parts.chain.specs[task].train
    world.parts.blobs.remove(train)
    world.peers.theirs.remove(train)
    assert world.signals() == ()


@pytest.mark.parametrize(
    "file", [b"no data set at all", split(1)[:-1], split(1, classes=11)], ids=["other", "cut", "labels"]
)
def test_data_that_nobody_can_train_on_are_not_signalled_and_not_read_again(world, file):
    useless, good = world.open("a", file), world.open("bb")
    assert world.signals() == (good,)
    world.peers.asked.clear()
    world.parts.blobs.remove(world.parts.chain.specs[useless].train)
    assert world.signals() == (good,)
    assert world.peers.asked == []


def test_a_file_that_is_longer_than_the_task_says_is_refused_before_it_is_fetched(world):
    task = world.open("a", split(1) + b"more")
    world.parts.blobs.put_file(split(1) + b"more")
    with pytest.raises(Malformed, match="at most"):
        world.data.at_hand(task)
    assert world.signals() == ()


def test_no_more_is_fetched_than_there_is_room_for(tmp_path):
    world = World(tmp_path, room=2 * SIZE + SIZE // 2)
    one, two, three = (world.open("x" * number) for number in (1, 2, 3))
    assert world.signals() == (one,), "each has a held-out split too, so there is no room for two"
    asyncio.run(world.data.ensure(two))
    assert world.data.at_hand(two), "what is scheduled is fetched all the same"
    assert three not in world.signals()


def test_only_tasks_that_wait_are_signalled_and_not_too_many(world):
    tasks = [world.open("x" * number) for number in range(1, 5)]
    few = replace(ROOMY, max_signals=2)
    world.parts.chain.params = few
    assert world.signals() == tuple(tasks[:2])
    for _ in range(few.signals_needed):
        world.parts.grow(signals=(tasks[0],))
    assert world.signals() == tuple(tasks[1:3])


def test_the_embedded_data_come_back_if_they_are_deleted(world):
    task = cid_of(DIGITS)
    asyncio.run(world.data.ensure(task))
    world.parts.blobs.remove(DIGITS.train)
    assert not world.data.at_hand(task)
    asyncio.run(world.data.ensure(task))
    assert world.data.at_hand(task)
    assert world.peers.asked == []

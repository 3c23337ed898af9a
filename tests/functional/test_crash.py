"""kill -9 at any moment: nothing that was confirmed is lost, and a session goes on where it was."""

import random
import shutil
import time
from pathlib import Path

import pytest

from deepblock.keys import Wallet
from deepblock.primitives import DBK
from tests.functional.nodes import Node, running, same_head, wait_for

KILLS = 20


@pytest.mark.timeout(420)
def test_twenty_kills_lose_nothing_that_was_confirmed(tmp_path: Path) -> None:
    random.seed(4)
    first, second = Node(tmp_path / "first"), Node(tmp_path / "second")
    receiver = Wallet.new().address
    with running(first, second):
        first.start("--mine")
        port = first.address.split("/")[4]
        first.flags = ("--p2p-port", port)  # it comes back where the other looks for it
        second.start("--mine", "--bootstrap", first.address)
        wallet = Wallet.load(first.folder / "wallet.json")

        def spendable() -> bool:
            return int(first.call("state_getAccount", str(wallet.address))["balance"]) > 5 * DBK

        wait_for(spendable, 120, "a mature reward", first)
        first.deepblock("send", str(receiver), "2")
        wait_for(lambda: received(first, str(receiver)), 60, "the transfer to be confirmed", first)
        wait_for(lambda: received(second, str(receiver)), 60, "the transfer on the other node", second)

        for turn in range(KILLS):
            victim = (first, second)[turn % 2]
            time.sleep(random.uniform(0.0, 1.5))
            before = victim.head
            victim.kill()
            flags = ("--mine",) if victim is first else ("--mine", "--bootstrap", first.address)
            victim.start(*flags)
            after = victim.head
            assert after["height"] >= before["height"], "it restarts at the head that was committed"
            assert received(victim, str(receiver)), "a confirmed transfer is still there"
        wait_for(lambda: same_head(first, second), 60, "one head again", first, second)
        assert received(first, str(receiver)) and received(second, str(receiver))


def received(node: Node, address: str) -> bool:
    return int(node.call("state_getAccount", address)["balance"]) == 2 * DBK


@pytest.mark.timeout(240)
def test_a_session_goes_on_from_its_last_finished_segment(tmp_path: Path) -> None:
    """On the real devnet, whose sessions are long enough to be hit in the middle."""
    node = Node(tmp_path / "node", network="devnet")
    with running(node):
        for _ in range(10):
            node.start("--mine")
            status = wait_for(
                lambda: (now := node.call("miner_status")) and 3 <= now["segment"] < now["segments"] - 3 and now,
                60, "a session to be in its middle", node,
            )  # fmt: skip
            node.kill()
            node.start("--mine")
            resumed = [
                event for event in node.events("session_resumed") if event["segment"] >= status["segment"] - 1
            ]
            node.kill()
            if resumed:
                return
        raise AssertionError(f"no session was resumed\n{node.log()[-3000:]}")


@pytest.mark.timeout(240)
def test_a_lone_node_whose_files_are_gone_trains_its_models_again(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    with running(node):
        node.start("--mine")
        wait_for(lambda: node.height >= 4, 60, "some blocks", node)
        node.kill()
        shutil.rmtree(node.folder / "blobs")
        node.start("--mine")
        height = node.height
        wait_for(lambda: node.height > height, 120, "a block on the model that was lost", node)
        assert node.events("model_lost")
        node.deepblock("model", "pull", "-o", str(tmp_path / "model.safetensors"))
        (node.folder / "blobs").rename(tmp_path / "gone")  # and under a running node
        height = node.height
        wait_for(lambda: node.height > height, 120, "a block after the second loss", node)
    assert "Traceback" not in node.log()

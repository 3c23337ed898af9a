"""A real node whose files come and go by IPFS."""

import asyncio
import itertools
import time
from contextlib import contextmanager

import pytest

from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.unixfs import file_cid
from tests.functional.nodes import Node, running, wait_for
from tests.unit.node.ipfs_parts import embedded, fetch_file, serving, standing_in

pytestmark = pytest.mark.functional


@contextmanager
def mining(folder, *flags):
    node = Node(folder, "--mine", *flags)
    with running(node):
        yield node.start()


def ways(node) -> dict[str, str]:
    return {way["name"]: way["state"] for way in node.call("node_info")["ipfs"]}


def test_any_ipfs_node_may_have_a_model_and_give_it_back(tmp_path):
    """A door of its own stands for one: what Kubo does is in tests/interop."""
    store = Blockstore(tmp_path / "stranger")
    with mining(tmp_path / "node") as node:
        model = Cid.parse(wait_for(lambda: node.head["model"], 60, "a model", node))

        async def scene():
            async with serving(store) as (stranger,):
                await stranger.connect(node.address)
                source = embedded(stranger)
                async with asyncio.timeout(30):
                    await fetch_file(source, store, model)
                kept = store.put_file(b"what only the stranger has" * 20_000)
                pinned = await asyncio.to_thread(node.call, "model_pin", str(kept))
                assert pinned["files"] == [str(kept)]
                return kept

        kept = asyncio.run(scene())
        assert not store.missing(model)
        assert not Blockstore(tmp_path / "node" / "blobs").missing(kept)
        assert f"pinned  {kept}" in node.deepblock("model", "pins").stdout
        refused = node.deepblock("model", "pin", str(file_cid(b"nobody's")), check=False)
        assert refused.returncode == 1 and "no connected peer has" in refused.stderr


def test_a_daemon_may_come_and_go(tmp_path):
    with standing_in() as daemon, mining(tmp_path / "node", "--ipfs-api", daemon.addr) as node:
        wait_for(lambda: ways(node)["kubo"] == "up, version 0.99.0", 30, "the daemon to be seen", node)
        file = daemon.hold(b"what only the daemon has" * 20_000)
        assert node.call("model_pin", str(file))["files"] == [str(file)]
        port = int(daemon.addr.rpartition("/")[2])
        daemon.close()
        wait_for(lambda: ways(node)["kubo"] == "down: nothing answers there", 30, "its end to be seen", node)
        height = node.height
        wait_for(lambda: node.height > height, 60, "the node to go on", node)
        with standing_in(port=port):
            wait_for(lambda: ways(node)["kubo"].startswith("up"), 60, "the daemon to be back", node)
        states = [event["state"] for event in node.events("kubo")]
        assert all(one != other for one, other in itertools.pairwise(states))


def test_a_dead_peer_of_the_settings_holds_up_nothing(tmp_path):
    dead = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWJyByLSvMHxE8XCgeqy2B77rrDParEbQ1a9FpzqiV3giY"
    began = time.monotonic()
    with mining(tmp_path / "node", "--ipfs-peers", dead) as node:
        wait_for(lambda: node.height, 60, "a block", node)
        assert ways(node) == {"embedded": "up, 0 of 1 ipfs_peers connected", "kubo": "off"}
        assert time.monotonic() - began < 60

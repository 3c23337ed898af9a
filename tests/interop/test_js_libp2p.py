"""js-libp2p in our gossip mesh: it hears a block, and pulls the headers by our own protocol."""

import pytest

from deepblock.cid import Cid
from deepblock.codec import decode, encode
from deepblock.types import Block
from node.messages import HEADERS, MAX_REPLY, Chain, Locate, topic_of
from tests.functional.nodes import Node, running, wait_for
from tests.interop.tools import js_libp2p


@pytest.mark.functional
def test_a_stranger_hears_a_block_and_pulls_its_header(tmp_path):
    node = Node(tmp_path / "node", "--mine")
    with running(node):
        node.start()
        network = Cid.parse(node.facts["network"])
        with js_libp2p(tmp_path, node.address, topic_of(network, "blocks")) as stranger:
            heard = wait_for(lambda: stranger.ask(do="heard"), 90, "a block by gossip", node)
            block = decode(Block, bytes.fromhex(heard[0]))
            answer = stranger.ask(do="ask", protocol=HEADERS, request=encode(Locate((network,))).hex())
            blocks = decode(Chain, bytes.fromhex(answer["body"]), MAX_REPLY).blocks
            assert answer["status"] == 0
            assert blocks[0].header.parent == network
            assert block.id in {known.id for known in blocks}
            assert node.call("chain_getBlock", str(block.id))["id"] == str(block.id)

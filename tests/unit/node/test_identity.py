"""The node's key: made once, and held by one process."""

import json
import os

import pytest

from node.errors import StartError
from node.identity import NODE_FILE, NODE_KEY, Identity, write_node_file


def test_the_key_is_made_once_and_is_nobody_elses_to_read(tmp_path):
    key = Identity(tmp_path).key
    assert len(key) == 32 and (tmp_path / NODE_KEY).stat().st_mode & 0o777 == 0o600
    assert Identity(tmp_path).key == key


def test_two_nodes_do_not_share_a_folder(tmp_path):
    first = Identity(tmp_path)
    with pytest.raises(StartError, match="another node runs in .*--data-dir of its own"):
        Identity(tmp_path)
    del first
    Identity(tmp_path)


def test_a_damaged_key_is_a_sentence(tmp_path):
    (tmp_path / NODE_KEY).write_bytes(b"short")
    with pytest.raises(StartError, match="is not a node key of 32 bytes; delete it"):
        Identity(tmp_path)


def test_node_json_says_who_runs_here(tmp_path):
    write_node_file(tmp_path, "a network", ["/ip4/127.0.0.1/tcp/1/p2p/ID"], rpc="http://127.0.0.1:1")
    assert json.loads((tmp_path / NODE_FILE).read_text()) == {
        "pid": os.getpid(),
        "rpc": "http://127.0.0.1:1",
        "multiaddrs": ["/ip4/127.0.0.1/tcp/1/p2p/ID"],
        "network": "a network",
    }

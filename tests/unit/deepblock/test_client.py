"""The client against a real RPC server, and against servers that are none."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deepblock import api
from deepblock.client import (
    BadAnswer,
    Client,
    ClientError,
    FileCorrupt,
    FileMissing,
    NodeUnreachable,
    NotRunning,
    RpcError,
)
from deepblock.codec import cid_of
from deepblock.keys import Wallet
from deepblock.primitives import DBK
from node.peers import Row
from tests.rpc_parts import DIGITS, Parts, named, serving

BOB = Wallet(b"\1" * 32).address


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path)


@pytest.fixture
def client(parts):
    with serving(parts.services) as url:
        yield Client(url)


def test_every_answer_comes_back_as_what_the_node_gave(parts, client):
    from node.rpc import methods, tasks

    blocks = [parts.grow() for _ in range(4)]
    parts.rows = [Row("12D3KooWA", "/ip4/10.0.0.1/tcp/1", "out", 5.0, 0.0, None, None)]
    node, address = parts.services, parts.wallet.address
    assert client.node_info() == methods.node_info(node)
    assert client.node_peers() == methods.node_peers(node)
    assert client.chain_head().id == blocks[-1].id
    assert client.chain_get_block(2) == methods.chain_get_block(node, 2)
    assert client.chain_get_block(blocks[1].id).block == blocks[1]
    assert client.chain_get_headers(1, 3) == methods.chain_get_headers(node, 1, 3)
    assert client.state_get_account(address) == methods.state_get_account(node, address)
    assert client.task_list() == tasks.task_list(node)
    assert client.task_get(cid_of(DIGITS)) == tasks.task_get(node, cid_of(DIGITS))
    assert client.task_get(cid_of(DIGITS)).spec == DIGITS
    assert client.model_get(last=3) == tasks.model_get(node, last=3)
    assert client.miner_status() == methods.miner_status(node)
    assert client.discover()["openrpc"].startswith("1.3")
    assert client.call("chain_getHeaders", 0, 1)[0]["id"] == str(parts.chain.network)


def test_a_transaction_goes_out_and_is_found(parts, client):
    for _ in range(3):
        parts.grow()
    transaction = parts.transfer(BOB, DBK)
    assert client.tx_send(transaction) == transaction.id
    assert client.tx_get(transaction.id).status == "pending"
    block = parts.grow([transaction])
    found = client.tx_get(transaction.id)
    assert (found.block, found.transaction) == (block.id, transaction)


def test_a_refusal_carries_code_sentence_and_data(parts, client):
    with pytest.raises(RpcError, match="can spend 0 DBK") as refused:
        client.tx_send(parts.transfer(BOB, DBK))
    assert refused.value.code == api.REFUSED
    assert refused.value.data["rule"] == "CannotPay"
    with pytest.raises(RpcError) as unknown:
        client.chain_get_block(99)
    assert unknown.value.code == api.NOT_FOUND


def test_files_are_fetched_and_verified(parts, client):
    data = os.urandom(700_000)
    cid = parts.blobs.put_file(data)
    assert client.fetch_file(cid) == data
    with pytest.raises(BadAnswer, match="more than 100 bytes"):
        client.fetch_file(cid, max_size=100)
    with pytest.raises(FileMissing, match=str(named("nothing"))):
        client.fetch_file(named("nothing"))
    (file,) = (parts.folder / "blobs").rglob(str(cid))
    file.write_bytes(b"damaged")
    with pytest.raises(FileCorrupt, match="damaged"):
        client.fetch_file(cid)


def test_a_block_is_fetched_by_its_id(parts, client):
    block = parts.grow()
    assert client.fetch_file(block.id)


def test_a_node_that_is_not_there_is_said_with_what_to_do():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(
        NodeUnreachable, match=f"no node answers at {url} .Connection refused.; start one with"
    ):
        Client(url).chain_head()
    with pytest.raises(NodeUnreachable):
        Client("http://127.0.0.1:1/").fetch_file(named("x"))


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1/", "http://127.0.0.1:99999"])
def test_a_url_that_is_none_is_an_error_for_people(url):
    with pytest.raises(ClientError):
        Client(url).chain_head()


@contextmanager
def impostor(status, body):
    """A web server that gives the same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"error": 5}'),
        (200, b'{"result": {"height": "many"}}'),
        (404, b""),
        (500, b"oops"),
        (403, b'{"error": "this node is not called by that name"}'),
    ],
)
def test_something_else_at_the_url_is_an_error_for_people(status, body):
    with impostor(status, body) as url, pytest.raises(ClientError):
        Client(url).chain_head()


def test_a_newer_node_may_say_more(parts, client):
    answer = client.call("miner_status") | {"temperature": 61}
    with impostor(200, json.dumps({"result": answer}).encode()) as url:
        assert Client(url).miner_status().address == parts.wallet.address


def test_other_bytes_than_asked_for_are_refused():
    with impostor(200, b"something else") as url, pytest.raises(BadAnswer, match="other bytes"):
        Client(url).fetch_file(named("x"))


def test_finding_the_node(tmp_path):
    assert Client.find().url == api.DEFAULT_URL
    assert Client.find(tmp_path, "http://127.0.0.1:6666/").url == "http://127.0.0.1:6666"
    with pytest.raises(
        NotRunning, match=f"no node runs in {tmp_path}; start it with .*--data-dir {tmp_path}"
    ):
        Client.find(tmp_path)
    with pytest.raises(ClientError, match="'' is not the URL"):
        Client.find(tmp_path, "")


@pytest.mark.parametrize("content", ["[", "5", "{}", '{"pid": "me", "rpc": "http://127.0.0.1:1"}'])
def test_a_node_file_that_is_none_is_named(tmp_path, content):
    (tmp_path / "node.json").write_text(content)
    with pytest.raises(ClientError, match=r"node\.json is not a node's .*; name the node with --rpc"):
        Client.find(tmp_path)


def left_behind(folder, url, network, pid):
    """A node.json as a node writes it."""
    folder.mkdir(exist_ok=True)
    facts = {"pid": pid, "rpc": url, "multiaddrs": [], "network": str(network)}
    (folder / "node.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def dead():
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_node_of_a_folder_is_found(parts, client, tmp_path, dead):
    network = parts.chain.network
    assert Client.find(left_behind(tmp_path / "alive", client.url, network, os.getpid())).url == client.url
    # A container's processes cannot be seen from outside: what answers for the right network is the node.
    assert Client.find(left_behind(tmp_path / "dead", client.url, network, dead)).url == client.url


def test_a_killed_nodes_port_may_be_anothers(parts, client, tmp_path, dead):
    for pid in (dead, os.getpid()):
        folder = left_behind(tmp_path / "left", client.url, named("another network"), pid)
        with pytest.raises(
            NotRunning, match=f"no node runs in {folder} .*{client.url}.* network parts answers"
        ):
            Client.find(folder)


@pytest.mark.parametrize("pid", [None, 10**30])
def test_a_killed_node_is_said_to_be_dead(parts, tmp_path, dead, pid):
    pid = pid or dead
    folder = left_behind(tmp_path / "left", "http://127.0.0.1:1", parts.chain.network, pid)
    with pytest.raises(NotRunning, match=f"left by process {pid}, which is dead.; start it with"):
        Client.find(folder)
    with impostor(200, b"<html>") as url, pytest.raises(NotRunning, match="which is dead"):
        Client.find(left_behind(tmp_path / "left", url, parts.chain.network, pid))


def test_a_node_that_lives_and_does_not_answer_is_not_called_dead(parts, tmp_path):
    for alive in (os.getpid(), 1):  # ours, and perhaps somebody else's
        folder = left_behind(tmp_path / "left", "http://127.0.0.1:1", parts.chain.network, alive)
        with pytest.raises(NodeUnreachable, match="no node answers"):
            Client.find(folder)


def test_a_proxy_of_the_system_is_not_asked(parts, client, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert Client(client.url).chain_head().height == 0

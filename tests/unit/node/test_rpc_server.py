"""The RPC over real sockets."""

import asyncio
import gzip
import json
import logging
import os
import socket
import threading
import urllib.error
import urllib.request

import aiohttp
import pytest

from deepblock.cid import DAG_CBOR, cid_of_block
from deepblock.codec import encode
from deepblock.types import Body
from deepblock.unixfs import split_file
from node.errors import StartError
from node.rpc.server import MAX_REQUEST, Server
from tests.rpc_parts import Parts, named, serving

HEAD = {"jsonrpc": "2.0", "id": 1, "method": "chain_head"}


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path)


@pytest.fixture
def url(parts):
    with serving(parts.services) as url:
        yield url


def fetch(url, data=None, headers=None):
    request = urllib.request.Request(url, data, headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def post(url, message, **headers):
    status, body, _ = fetch(url, json.dumps(message).encode(), headers)
    return status, json.loads(body) if body else None


def test_a_call_a_batch_and_a_notification(url):
    status, reply = post(url, HEAD)
    assert (status, reply["result"]["height"]) == (200, 0)
    status, reply = post(url, [HEAD, HEAD])
    assert (status, len(reply)) == (200, 2)
    assert post(url, {"jsonrpc": "2.0", "method": "chain_head"}) == (204, None)


def test_errors_of_json_rpc_come_with_status_200(url):
    status, body, _ = fetch(url, b"{nonsense")
    assert status == 200
    assert json.loads(body)["error"]["code"] == -32700


def test_a_visitor_is_told_how_to_ask(url):
    status, body, _ = fetch(url)
    assert status == 200
    assert b"rpc.discover" in body and body.count(b"\n") == 1


def test_a_request_is_bounded(url):
    status, body, _ = fetch(url, b" " * (MAX_REQUEST + 1))
    assert status == 413
    assert json.loads(body)["error"]["code"] == -32600


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(json.dumps(HEAD).encode())], ids=["no gzip", "gzip"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_compressed_request_is_refused_in_a_sentence(url, caplog, method, body):
    headers = {"Host": "localhost", "Content-Encoding": "gzip", "Content-Length": str(len(body))}
    head = f"{method} / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with connected(url) as caller:
        caller.sendall(head.encode() + b"\r\n" + body)
        reply = caller.recv(4096)
    assert reply.startswith(b"HTTP/1.1 415" if method == "POST" else b"HTTP/1.1 200")
    if method == "POST":
        assert b"without Content-Encoding" in reply
    assert post(url, HEAD)[0] == 200
    assert caplog.records == []


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nonly this",
    ],
)
def test_malformed_http_is_nothing_to_log(url, caplog, request_):
    with connected(url) as caller:
        caller.sendall(request_)
        caller.shutdown(socket.SHUT_WR)
        while caller.recv(4096):
            pass
    assert post(url, HEAD)[0] == 200
    assert caplog.records == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8645", "[::1]:8645"])
def test_the_machines_own_names_are_served(url, host):
    assert post(url, HEAD, Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8645", "127.0.0.1.evil.example", "[::2]", "[", ""]
)
def test_a_rebound_name_is_refused(url, host):
    for path in ("/", "/ws", f"/ipfs/{named('x')}"):
        status, body, _ = fetch(url + path, headers={"Host": host})
        assert status in (400, 403), body


def test_a_configured_name_is_served(parts):
    async def scenario():
        server = Server(parts.services, port=0, allowed_hosts=["Node.example"])
        url = await server.start()
        try:
            headers = {"Host": "node.example:8645"}
            async with (
                aiohttp.ClientSession() as session,
                session.post(url, json=HEAD, headers=headers) as response,
            ):
                assert response.status == 200
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_pages_of_other_sites_are_kept_out(url):
    assert post(url, HEAD, Origin="https://evil.example")[0] == 403
    assert post(url, HEAD, Origin="null")[0] == 403
    assert post(url, HEAD, Origin="http://localhost:3000")[0] == 200
    _, _, headers = fetch(url, json.dumps(HEAD).encode(), {"Origin": "http://localhost:3000"})
    assert "Access-Control-Allow-Origin" not in headers


def test_the_websocket_answers_like_the_post(url):
    async def scenario():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws") as socket:
            await socket.send_str("{nonsense")
            assert (await socket.receive_json())["error"]["code"] == -32700
            await socket.send_json(HEAD)
            assert (await socket.receive_json())["result"]["height"] == 0
            await socket.send_json({"jsonrpc": "2.0", "method": "chain_head"})  # a notification: no answer
            await socket.send_json([HEAD | {"id": "b"}])
            assert (await socket.receive_json())[0]["id"] == "b"
            await socket.send_str(" " * (MAX_REQUEST + 1))
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await session.ws_connect(f"{url}/ws", headers={"Origin": "https://evil.example"})

    asyncio.run(scenario())


def test_one_who_sends_many_requests_does_not_hold_up_another(url):
    async def scenario():
        got = 0

        async def count():
            nonlocal got
            async for _ in socket:
                got += 1

        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws") as socket:
            for _ in range(1_000):
                await socket.send_json(HEAD | {"method": "rpc.discover"})
            counting = asyncio.create_task(count())
            async with session.post(url, json=HEAD) as response:
                assert response.status == 200
            before = got
            counting.cancel()
        return before

    assert asyncio.run(scenario()) < 500


def test_a_socket_that_hangs_up_with_answers_outstanding_does_no_harm(url, caplog):
    async def scenario():
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                socket = await session.ws_connect(f"{url}/ws")
                for _ in range(300):
                    await socket.send_json(HEAD | {"method": "rpc.discover"})
                socket._response.connection.transport.abort()

    asyncio.run(scenario())
    assert post(url, HEAD)[0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 1_000_000])
def test_a_file_comes_byte_for_byte(parts, url, size):
    data = os.urandom(size)
    cid = parts.blobs.put_file(data)
    status, body, headers = fetch(f"{url}/ipfs/{cid}")
    assert (status, body) == (200, data)
    assert headers["Content-Length"] == str(size)


def test_blocks_and_bodies_come_by_their_cid(parts, url):
    block = parts.grow()
    assert fetch(f"{url}/ipfs/{block.id}")[:2] == (200, encode(block))
    assert fetch(f"{url}/ipfs/{block.header.body}")[:2] == (200, encode(Body()))
    assert fetch(f"{url}/ipfs/{cid_of_block(b'none', DAG_CBOR)}")[0] == 404


def test_what_is_not_there_says_so(parts, url):
    status, body, _ = fetch(f"{url}/ipfs/{named('nothing')}")
    assert status == 404
    assert str(named("nothing")) in json.loads(body)["error"]
    assert fetch(f"{url}/ipfs/zzz")[0] == 400
    assert fetch(f"{url}/elsewhere")[0] == 404


def test_a_damaged_file_is_an_error_before_the_first_byte(parts, url):
    data = os.urandom(600_000)
    cid = parts.blobs.put_file(data)
    leaf = list(split_file(data)[1])[1]
    flip_bit(parts.folder / "blobs", leaf)
    status, body, _ = fetch(f"{url}/ipfs/{cid}")
    assert status == 409
    assert str(leaf) in json.loads(body)["error"]


def test_a_caller_that_hangs_up_does_no_harm(parts, url):
    cid = parts.blobs.put_file(os.urandom(3_000_000))
    host, port = url.removeprefix("http://").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(f"GET /ipfs/{cid} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            caller.recv(10)
    assert post(url, HEAD)[0] == 200


def test_many_callers_at_once(url):
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(post(url, [HEAD] * 10)[0])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20


def test_a_taken_port_is_said_plainly(parts, url):
    port = int(url.rsplit(":", 1)[1])
    with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}"):
        asyncio.run(Server(parts.services, port=port).start())


@pytest.mark.parametrize(
    ("host", "says"),
    [("nonsense..host", "not a host name"), ("192.0.2.1", "Cannot assign requested address")],
)
def test_a_host_that_cannot_be_listened_on_is_said_plainly(parts, host, says):
    with pytest.raises(StartError, match=rf"cannot listen on {host}:0 \({says}\); choose another --rpc-port"):
        asyncio.run(Server(parts.services, host=host, port=0).start())


def connected(url):
    """A socket of our own to the server."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def flip_bit(folder, cid):
    """Change one bit of a stored block."""
    (file,) = folder.rglob(str(cid))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

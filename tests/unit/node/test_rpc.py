"""The methods and JSON-RPC itself, on a real chain and without a transport."""

import asyncio
import json
from dataclasses import replace

import pytest

from deepblock import api
from deepblock.codec import cid_of
from deepblock.keys import Wallet
from deepblock.primitives import DBK
from node.peers import Row
from node.rpc import dispatch, methods
from node.rpc.dispatch import answer
from node.rpc.openrpc import document
from node.rpc.registry import METHODS, NotFound
from tests.rpc_parts import DIGITS, Parts, named

BOB = Wallet(b"\1" * 32).address


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path)


def raw(parts, request):
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    reply = asyncio.run(answer(parts.services, data))
    return None if reply is None else json.loads(reply)


def call(parts, method, *params):
    return raw(parts, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})


def result(parts, method, *params):
    reply = call(parts, method, *params)
    assert "error" not in reply, reply
    return reply["result"]


def error(parts, method, *params):
    return call(parts, method, *params)["error"]


# --- the methods -------------------------------------------------------------------------------------------


def test_the_genesis_has_no_model_yet(parts):
    head = result(parts, "chain_head")
    assert head["height"] == 0
    assert head["model"] is None and head["held_out"] is None
    assert head["task_name"] == "digits"
    assert error(parts, "model_get")["code"] == api.NOT_FOUND


def test_the_head_tells_the_loss_as_a_mean_and_as_the_sum_that_rules_compare(parts):
    block = parts.grow(loss=180_000_000)
    head = result(parts, "chain_head")
    assert head["held_out"] == {
        "loss": 0.5,
        "accuracy": 300 / 360,
        "loss_sum": 180_000_000,
        "correct": 300,
        "examples": 360,
    }
    assert head["id"] == str(block.id)
    assert head["model"] == str(block.result.model)
    assert head["difficulty"] == str(block.header.difficulty)
    assert head["age"] > 0


def test_a_block_by_height_and_by_id_is_the_same(parts):
    parts.grow()
    block = parts.grow()
    by_height = result(parts, "chain_getBlock", 2)
    assert by_height == result(parts, "chain_getBlock", str(block.id))
    assert by_height["header"]["parent"] == str(block.header.parent)
    assert by_height["confirmations"] == 1
    assert by_height["transactions"] == []


def test_a_block_starts_from_the_model_of_the_last_block_of_its_task_on_its_own_chain(parts):
    blocks = [parts.grow() for _ in range(5)]  # tasks by epochs of two: digits, other, other, digits, digits
    fork = parts.grow(parent=blocks[3].id)
    starts = [methods.chain_get_block(parts.services, block.id).starts_from for block in [*blocks, fork]]
    assert starts[0] is None
    assert starts[1] is None
    assert starts[2] == blocks[1].result.model
    assert starts[3] == blocks[0].result.model
    assert starts[4] == starts[5] == blocks[3].result.model


def test_a_block_off_the_chain_has_no_confirmations(parts):
    first = parts.grow()
    sibling = parts.grow(parent=first.header.parent)
    assert methods.chain_get_block(parts.services, first.id).confirmations == 1
    assert methods.chain_get_block(parts.services, sibling.id).confirmations == 0


@pytest.mark.parametrize("block", [7, str(named("no block"))])
def test_an_unknown_block_is_not_found(parts, block):
    assert error(parts, "chain_getBlock", block)["code"] == api.NOT_FOUND


def test_headers_come_upwards_and_end_with_the_chain(parts):
    blocks = [parts.grow() for _ in range(3)]
    found = result(parts, "chain_getHeaders", 2, 256)
    assert [item["id"] for item in found] == [str(block.id) for block in blocks[1:]]
    assert result(parts, "chain_getHeaders", 9) == []
    assert error(parts, "chain_getHeaders", 0, 257)["code"] == -32602


def test_rewards_are_immature_and_then_spendable(parts):
    parts.grow()
    parts.grow()
    account = result(parts, "state_getAccount", str(parts.wallet.address))
    assert (account["balance"], account["immature"]) == ("0", str(50 * DBK))
    parts.grow()
    account = result(parts, "state_getAccount", str(parts.wallet.address))
    assert (account["balance"], account["immature"]) == (str(25 * DBK), str(50 * DBK))


def test_a_transaction_from_sending_to_its_block(parts):
    for _ in range(3):
        parts.grow()
    transaction = parts.transfer(BOB, 3 * DBK)
    sent = json.loads(json.dumps(_json_of(transaction)))
    assert result(parts, "tx_send", sent) == str(transaction.id)
    pending = result(parts, "tx_get", str(transaction.id))
    assert pending["status"] == "pending" and pending["transaction"] == sent
    assert result(parts, "state_getAccount", str(parts.wallet.address))["next_nonce"] == 1
    block = parts.grow([transaction])
    parts.grow()
    confirmed = result(parts, "tx_get", str(transaction.id))
    assert confirmed["status"] == "confirmed"
    assert (confirmed["height"], confirmed["index"], confirmed["confirmations"]) == (4, 0, 2)
    assert confirmed["block"] == str(block.id)
    assert result(parts, "state_getAccount", str(BOB))["balance"] == str(3 * DBK)


def test_a_refused_transaction_gets_the_rules_sentence_and_its_numbers(parts):
    refused = error(parts, "tx_send", _json_of(parts.transfer(BOB, DBK)))
    assert refused["code"] == api.REFUSED
    assert refused["message"] == f"{parts.wallet.address} can spend 0 DBK, the transaction needs 1.0001 DBK"
    assert refused["data"]["rule"] == "CannotPay"
    assert refused["data"]["balance"] == "0"


def test_a_misspelt_field_of_a_transaction_is_an_error(parts):
    transaction = _json_of(parts.transfer(BOB, DBK))
    transaction["payload"]["feee"] = "1"
    refused = error(parts, "tx_send", transaction)
    assert refused["code"] == -32602
    assert "transaction.payload.transfer.feee" in refused["message"]


def test_an_unknown_transaction_is_not_found(parts):
    assert error(parts, "tx_get", str(named("nothing")))["code"] == api.NOT_FOUND


def test_tasks_and_the_bar_of_the_next_session(parts):
    task = cid_of(DIGITS)
    parts.grow(loss=100_000_000)
    listed = result(parts, "task_list")
    assert [(item["name"], item["blocks"], item["scheduled"]) for item in listed] == [
        ("digits", 1, False),
        ("other", 0, True),
    ]
    found = result(parts, "task_get", str(task))
    assert found["spec"]["layers"][1] == {"kind": "linear", "out": 8}
    state = parts.chain.state().task(task)
    assert found["bar"] == 100_000_000 + state.offset
    assert found["bar_loss"] == pytest.approx(found["bar"] / 360e6)
    assert found["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert error(parts, "task_get", str(named("no task")))["code"] == api.NOT_FOUND


def test_a_models_lineage_is_of_its_task_alone(parts):
    blocks = [parts.grow(loss=100_000_000 - height) for height in range(6)]
    model = result(parts, "model_get", str(cid_of(DIGITS)), 2)
    assert model["model"] == str(blocks[4].result.model)
    assert [entry["height"] for entry in model["lineage"]] == [5, 4]
    everything = result(parts, "model_get", str(cid_of(DIGITS)))
    assert [entry["height"] for entry in everything["lineage"]] == [5, 4, 1]
    assert result(parts, "model_get")["task_name"] == "other"


def test_the_node_counts_the_peers_that_are_connected(parts):
    here = Row("12D3KooWA", "/ip4/10.0.0.1/tcp/1", "in", 5.0, 0.0, None, None)
    parts.rows = [here, replace(here, id="12D3KooWB", addr=None, direction=None, connected=None, score=40.0)]
    info = result(parts, "node_info")
    assert info["peers"] == 1
    assert info["fee_per_byte"] == "10"
    assert info["network"] == str(parts.chain.network)
    assert info["sync"]["state"] == "synced"
    assert [peer["id"] for peer in result(parts, "node_peers")] == ["12D3KooWA", "12D3KooWB"]


def test_the_node_says_how_its_ways_into_ipfs_are(parts):
    assert result(parts, "node_info")["ipfs"] == [
        {"name": "embedded", "state": "up"},
        {"name": "kubo", "state": "down: nothing answers there"},
    ]


def test_files_are_pinned_and_unpinned(parts):
    file = str(named("a file"))
    assert result(parts, "model_pins") == {"files": [], "stored": 5 << 20, "quota": 1 << 30}
    assert result(parts, "model_pin", file)["files"] == [file]
    assert result(parts, "model_unpin", file)["files"] == []
    refusal = error(parts, "model_pin", str(parts.keeper.nowhere))
    assert refusal["code"] == api.NOT_FOUND and "so it cannot be kept" in refusal["message"]
    assert error(parts, "model_pin", "nonsense")["code"] == -32602


def test_the_miner_says_how_far_its_session_is(parts):
    parts.status = replace(
        parts.status, height=4, task=cid_of(DIGITS), segment=1, segments=3, step=6, steps=12
    )
    status = result(parts, "miner_status")
    assert status["address"] == str(parts.wallet.address)
    assert (status["segment"], status["step"], status["task"]) == (1, 6, str(cid_of(DIGITS)))


# --- JSON-RPC ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a": 1e400}',
        b"[NaN]",
        b"[-Infinity]",
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b"9" * 5000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_not_strict_json_is_a_parse_error(parts, text):
    reply = raw(parts, text)
    assert reply["error"]["code"] == -32700
    assert reply["id"] is None
    for leak in ("recursion", "codec", "sys.", "Exceeds"):  # Python's words for it
        assert leak not in reply["error"]["message"]


@pytest.mark.parametrize(
    "request_",
    [
        1,
        "chain_head",
        {},
        {"jsonrpc": "1.0", "id": 1, "method": "chain_head"},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        {"jsonrpc": "2.0", "id": 1, "method": "chain_head", "params": "x"},
        {"jsonrpc": "2.0", "id": {"a": 1}, "method": "chain_head"},
        {"jsonrpc": "2.0", "id": True, "method": "chain_head"},
        [],
    ],
)
def test_what_is_no_request_object_is_an_invalid_request(parts, request_):
    assert raw(parts, request_)["error"]["code"] == -32600


@pytest.mark.parametrize("wrong", [{"method": 5}, {"jsonrpc": "1.0"}, {"params": "x"}])
def test_an_invalid_request_is_answered_with_its_id_where_that_is_readable(parts, wrong):
    good = {"jsonrpc": "2.0", "id": "seven", "method": "chain_head"}
    assert raw(parts, good | wrong)["id"] == "seven"
    for id_ in (True, [7]):
        assert raw(parts, good | wrong | {"id": id_})["id"] is None


def test_one_who_sends_many_requests_takes_turns(parts):
    async def scenario():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for request in (b'{"jsonrpc": "2.0", "id": 1, "method": "chain_head"}', b"{nonsense") * 5:
            await answer(parts.services, request)
        task.cancel()
        return turns

    assert asyncio.run(scenario()) >= 10


def test_parameters_are_bounded_in_depth(parts):
    for depth in range(100, 1100, 7):
        text = b'{"jsonrpc":"2.0","id":1,"method":"chain_getBlock","params":[%s%s]}' % (
            b"[" * depth,
            b"]" * depth,
        )
        fault = raw(parts, text)["error"]
        assert fault["code"] in (-32602, -32700)
        assert "recursion" not in fault["message"]
    assert "nested too deeply" in fault["message"]


def test_an_unknown_method_is_named(parts):
    reply = error(parts, "chain_tail")
    assert reply["code"] == -32601
    assert "chain_tail" in reply["message"]


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("chain_getBlock", [], "block"),
        *[
            ("chain_getBlock", [block], "chain_getBlock: block: a height or a block id")
            for block in (True, 1.5, -1, 2**64, "latest", None, {})
        ],
        ("chain_getHeaders", [-1], "-1 is not between"),
        ("task_get", ["zzz"], "not a base32 CIDv1"),
        ("chain_getBlock", [1, 2], "at most 1 parameters (block)"),
        ("chain_getBlock", {"height": 1}, "height"),
        ("chain_head", [1], "takes no parameters"),
        ("state_getAccount", ["dbk1qqqq"], "address"),
        ("model_get", [None, "3"], "last"),
        ("tx_send", [{}], "transaction.payload"),
        ("tx_get", ["\ud800"], "tx_get"),
    ],
)
def test_wrong_parameters_are_said_by_name(parts, method, params, says):
    reply = raw(parts, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})["error"]
    assert reply["code"] == -32602
    assert says in reply["message"]
    assert "pydantic" not in json.dumps(reply) and "json-or-python" not in json.dumps(reply)


def test_parameters_by_name_are_those_by_position(parts):
    parts.grow()
    named_ = raw(parts, {"jsonrpc": "2.0", "id": 1, "method": "chain_getBlock", "params": {"block": 1}})
    assert named_["result"] == result(parts, "chain_getBlock", 1)


def test_a_notification_is_carried_out_and_not_answered(parts):
    for _ in range(3):
        parts.grow()
    transaction = parts.transfer(BOB, DBK)
    sent = {"jsonrpc": "2.0", "method": "tx_send", "params": [_json_of(transaction)]}
    assert raw(parts, sent) is None
    assert parts.mempool.get(transaction.id) is not None
    assert raw(parts, {"jsonrpc": "2.0", "method": "no_such"}) is None


def test_a_batch_answers_what_wants_an_answer(parts):
    one = {"jsonrpc": "2.0", "method": "chain_head"}
    replies = raw(parts, [one | {"id": "a"}, one, 7, one | {"id": 2, "method": "nope"}])
    assert [reply["id"] for reply in replies] == ["a", None, 2]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, -32600, -32601]
    assert raw(parts, [one, one]) is None


def test_a_batch_is_bounded(parts):
    one = {"jsonrpc": "2.0", "id": 1, "method": "chain_head"}
    assert len(raw(parts, [one] * dispatch.MAX_BATCH)) == dispatch.MAX_BATCH
    assert raw(parts, [one] * (dispatch.MAX_BATCH + 1))["error"]["code"] == -32600


def test_a_bug_of_ours_is_an_internal_error_without_a_traceback(parts):
    parts.services.miner.status = lambda: 1 / 0
    reply = error(parts, "miner_status")
    assert reply["code"] == -32603
    assert "division" not in json.dumps(reply) and "Traceback" not in json.dumps(reply)


# --- the description ---------------------------------------------------------------------------------------


def test_the_document_describes_every_method_and_resolves(parts):
    found = result(parts, "rpc.discover")
    assert found == json.loads(json.dumps(document()))
    assert document() is document(), "made for every caller anew"
    assert found["openrpc"].startswith("1.3.")
    assert {entry["name"] for entry in found["methods"]} == set(METHODS)
    assert all(entry["summary"] for entry in found["methods"])
    schemas = found["components"]["schemas"]
    for reference in _references(found):
        assert reference.removeprefix("#/components/schemas/") in schemas
    send = next(entry for entry in found["methods"] if entry["name"] == "tx_send")
    assert send["params"][0]["name"] == "transaction" and send["params"][0]["required"]


def test_what_the_daemon_holds_is_told(parts):
    health = result(parts, "node_health")
    assert 10_000_000 < health["memory"] < 10_000_000_000
    assert min(health["files"], health["threads"], health["tasks"]) >= 1
    assert health["p2p_tasks"] == 7 and health["uptime"] > 0


def test_the_readme_lists_every_method():
    from pathlib import Path

    text = (Path(methods.__file__).parent / "README.md").read_text()
    for name, entry in METHODS.items():
        assert f"| `{name}` |" in text
        assert " ".join(entry.doc.split()) in text, name


def test_not_found_is_an_error_of_the_application():
    assert NotFound("nothing").code == api.NOT_FOUND


def _json_of(transaction):
    from pydantic import TypeAdapter

    return TypeAdapter(type(transaction)).dump_python(transaction, mode="json")


def _references(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)

"""What a node says of tasks, from an offer to a closed contract."""

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from deepblock import api
from deepblock.codec import cid_of
from deepblock.spec import TaskSpec, session_macs
from deepblock.transactions import CloseTask, OpenTask
from tests.rpc_parts import DIGITS, PARAMS, Parts, named
from tests.unit.node.test_rpc import error, result

ROOMY = replace(PARAMS, max_task_cost=400, halving=1)
"""The subsidy halves with each block: what these parts mine first buys epochs later."""
LEAST = PARAMS.subsidy >> 4
"""Of an offer in the fifth block."""
PAY = LEAST + 1
OFFERED = replace(DIGITS, name="offered", segments=64)
TASK = cid_of(OFFERED)


@pytest.fixture
def parts(tmp_path):
    parts = Parts(tmp_path, ROOMY)
    for _ in range(4):
        parts.grow()
    return parts


def opened(parts, spec=OFFERED, pay=PAY, epochs=3, target=None):
    wallet, chain = parts.wallet, parts.chain
    nonce = chain.state().account(wallet.address).nonce
    terms = OpenTask(chain.network, wallet.key, nonce, 10**5, spec, pay, pay * epochs, target)
    parts.grow([wallet.sign(terms)])
    return cid_of(spec)


def task(parts, cid=TASK):
    return result(parts, "task_get", str(cid))


def quote(parts, spec=OFFERED, pay=str(PAY), ask=result):
    return ask(parts, "task_quote", TypeAdapter(TaskSpec).dump_python(spec, mode="json"), pay)


def until(parts, what):
    while not what():
        pending = parts.chain.state().open_tasks().items
        parts.grow(signals=[listed.task for listed in pending if not listed.active])
        assert parts.chain.head.height < 40


def test_a_base_task_has_no_contract(parts):
    found = task(parts, cid_of(DIGITS))
    assert (found["status"], found["pay"], found["contract"]) == ("base", None, None)
    assert found["session_macs"] == found["counted_macs"] == str(session_macs(DIGITS))


def test_a_task_from_its_offer_to_its_end(parts):
    opened(parts, target=36_000_000)
    found = task(parts)
    assert (found["name"], found["status"], found["blocks"], found["pay"]) == (
        "offered",
        "pending",
        0,
        str(PAY),
    )
    assert int(found["session_macs"]) == session_macs(OFFERED)
    assert int(found["counted_macs"]) == session_macs(DIGITS), "it counts as a base task's"
    contract = found["contract"]
    assert contract["sponsor"] == str(parts.wallet.address)
    assert (contract["escrow"], contract["reserved"]) == (str(3 * PAY), "0")
    assert contract["target_loss"] == pytest.approx(0.1)
    assert (contract["signals"], contract["signals_needed"], contract["signal_window"]) == (0, 3, 4)
    assert (contract["since"], contract["expires"]) == (5, 13)

    parts.grow(signals=[TASK])
    assert task(parts)["contract"]["signals"] == 1
    until(parts, lambda: task(parts)["status"] == "active")
    assert task(parts)["contract"]["expires"] is None
    until(parts, lambda: task(parts)["next"])
    assert not task(parts)["scheduled"]
    assert (task(parts)["contract"]["escrow"], task(parts)["contract"]["reserved"]) == (
        str(2 * PAY),
        str(PAY),
    )
    until(parts, lambda: task(parts)["scheduled"])
    assert task(parts)["epoch_ends"] == parts.chain.head.height + 1

    block = parts.grow(loss=36_000_000)
    found = task(parts)
    assert (found["status"], found["closed"], found["blocks"]) == ("closed", "target", 1)
    assert found["model"] == str(block.result.model)
    assert (found["contract"]["escrow"], found["contract"]["since"]) == ("0", None)
    assert result(parts, "model_get", str(TASK))["held_out"]["loss"] == pytest.approx(0.1)
    listed = {item["name"]: item["status"] for item in result(parts, "task_list")}
    assert listed == {"digits": "base", "other": "base", "offered": "closed"}


def test_a_task_that_its_sponsor_has_ended_is_closing(parts):
    wallet, chain = parts.wallet, parts.chain
    opened(parts)
    until(parts, lambda: task(parts)["next"])
    parts.grow([wallet.sign(CloseTask(chain.network, wallet.key, 1, 10**5, TASK))])
    assert task(parts)["status"] == "closing"


def test_a_quote_says_what_a_task_would_cost_and_get(parts):
    found = quote(parts)
    assert found["task"] == str(TASK)
    assert int(found["session_macs"]) == session_macs(OFFERED)
    assert int(found["max_macs"]) == 400 * int(found["base_macs"]) == 400 * session_macs(DIGITS)
    assert found["counted_macs"] == found["base_macs"]
    assert found["sessions_per_block"] == pytest.approx(4.0), "at the floor"
    assert (found["min_escrow"], found["share"], found["rivals"]) == (str(PAY), 1.0, [])
    cheapest = result(parts, "task_quote", TypeAdapter(TaskSpec).dump_python(OFFERED, mode="json"))
    assert cheapest == found | dict.fromkeys(("pay", "least_pay", "min_escrow"), str(LEAST))
    opened(parts, replace(OFFERED, name="rival"), pay=3 * PAY)
    found = quote(parts)
    assert found["share"] == 0.25
    assert [rival["name"] for rival in found["rivals"]] == ["rival"]


@pytest.mark.parametrize(
    ("spec", "pay", "rule"),
    [
        (DIGITS, "1", "SpecRefused"),
        (replace(OFFERED, segments=401 * 3), "1", "SpecRefused"),
        (replace(OFFERED, steps=100), "1", "TaskTooExpensive"),
        (OFFERED, "0", "PayTooLow"),
        (OFFERED, str(LEAST - 1), "PayTooLow"),
    ],
)
def test_a_quote_for_what_cannot_be_opened_names_the_rule(parts, spec, pay, rule):
    refused = quote(parts, spec, pay, ask=error)
    assert (refused["code"], refused["data"]["rule"]) == (api.REFUSED, rule)


def test_a_task_that_was_opened_is_not_quoted_again(parts):
    opened(parts)
    assert "another name" in quote(parts, ask=error)["message"]


def test_what_no_block_of_this_chain_opened_is_not_found(parts):
    """Though a block of another branch did, and this node knows what it is."""
    fork = parts.chain.head.id
    opened(parts)
    assert task(parts)["status"] == "pending"
    for _ in range(2):
        fork = parts.grow(parent=fork).id
    assert parts.chain.head.id == fork
    assert TASK in parts.chain.specs
    assert error(parts, "task_get", str(TASK))["code"] == api.NOT_FOUND
    assert [item["name"] for item in result(parts, "task_list")] == ["digits", "other"]
    assert error(parts, "task_get", str(named("nothing")))["code"] == api.NOT_FOUND

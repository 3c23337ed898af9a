"""The published examples of the rules, read as another implementation would; and that they are what is made today."""

import json
from types import TracebackType

import pytest
from pydantic import TypeAdapter

from consensus.params import Params
from consensus.rewards import CARRIERS_PART, PLEDGED_PART, slot, subsidy
from consensus.seal import GATE_FAILED, GATE_PASSED, limit, ticket
from consensus.state_tree import update
from consensus.transition import apply_block, check_block, check_chained
from deepblock.codec import cid_of, decode, encode
from deepblock.state_proof import EMPTY
from deepblock.transactions import Transaction, signing_bytes
from deepblock.types import Block, Body, Header, Seal, Share
from node.config import load_params
from tests import rule_vectors
from tests.house.test_numbered_rules import HELD
from tests.unit.consensus.line import Line

FILES = {file.name: json.loads(file.read_text()) for file in sorted(rule_vectors.FOLDER.glob("*.json"))}
BLOCKS, STATES = FILES["blocks.json"], FILES["states.json"]
RULES = {place: rule for rule, place in HELD}


def pair(entry) -> tuple[Block, Body]:
    return decode(Block, bytes.fromhex(entry["block"])), decode(Body, bytes.fromhex(entry["body"]))


@pytest.fixture(scope="module")
def line() -> Line:
    """Every valid block, taken."""
    line = Line(TypeAdapter(Params).validate_json(json.dumps(BLOCKS["params"])))
    assert str(line.network) == BLOCKS["network"]
    for entry in BLOCKS["valid"]:
        block, body = pair(entry)
        assert str(line.take(block, body).id) == entry["id"]
        assert str(line.tree.nodes[block.id].state_root) == entry["state_root"]
    return line


def test_they_are_what_the_script_writes():
    assert json.loads(json.dumps(rule_vectors.files())) == FILES


def test_the_state_after_each_block(line):
    for entry in STATES:
        values = {bytes.fromhex(key): bytes.fromhex(value) for key, value in entry["values"].items()}
        assert str(update(EMPTY, values, lambda name: b"")[0]) == entry["state_root"]
        assert next(after for cid, after in line.values.items() if str(cid) == entry["after"]) == values


@pytest.mark.parametrize("case", BLOCKS["invalid"], ids=lambda case: case["name"].replace(" ", "_"))
def test_an_invalid_block_breaks_the_rule_that_it_is_said_to_break(line, case):
    block, body = pair(case)
    state = line.state()
    check = (
        lambda: check_block(line.params, line.network, block, lambda task: state.spec(line.params, task)),
        lambda: check_chained(
            line.params, line.network, block, line.below(line.head).ancestry, state, case["now"]
        ),
        lambda: apply_block(line.params, state, block, body, line.past(line.head)),
    )
    with pytest.raises(Exception) as caught:
        for step in check:
            step()
    error = caught.value.__cause__ or caught.value
    assert type(error).__name__ == case["error"]
    assert case["rule"] in {*broken(caught.value.__traceback__), *broken(error.__traceback__)}


def broken(traceback: TracebackType | None) -> list[str]:
    """The numbered rules on the way to where an error was raised."""
    found = []
    while traceback:
        code = traceback.tb_frame.f_code
        place = f"{traceback.tb_frame.f_globals['__name__']}.{code.co_qualname}"
        found += [RULES[place]] if place in RULES else []
        traceback = traceback.tb_next
    return found


CLASSES = {"Transaction": Transaction, "Share": Share, "Body": Body, "Header": Header, "Block": Block}


@pytest.mark.parametrize("entry", FILES["encodings.json"], ids=lambda entry: entry["type"])
def test_bytes_and_ids(entry):
    cls = CLASSES[entry["type"]]
    value = TypeAdapter(cls).validate_json(json.dumps(entry["value"]))
    assert encode(value).hex() == entry["bytes"]
    assert decode(cls, bytes.fromhex(entry["bytes"])) == value
    assert str(cid_of(value)) == entry["cid"]
    if cls is Transaction:
        assert signing_bytes(value.payload).hex() == entry["signed"]


def test_every_kind_of_transaction_is_among_them():
    kinds = {entry["value"]["payload"]["kind"] for entry in FILES["encodings.json"] if "signed" in entry}
    assert kinds == {"transfer", "open_task", "fund_task", "close_task", "fraud_proof"}
    assert {entry["type"] for entry in FILES["encodings.json"]} == set(CLASSES)


def test_tickets():
    for entry in FILES["tickets.json"]:
        header, seal = (
            decode(Header, bytes.fromhex(entry["header"])),
            decode(Seal, bytes.fromhex(entry["seal"])),
        )
        assert header.seed.hex() == entry["seed"]
        assert ticket(header, seal) == int(entry["ticket"], 16)
        for name, gate, ratio in (
            ("block", GATE_PASSED, 1),
            ("block_failed_gate", GATE_FAILED, 1),
            ("share", GATE_PASSED, BLOCKS["params"]["share_ratio"]),
        ):
            assert limit(header.difficulty, gate, entry["macs"], ratio) == int(entry[f"limit_{name}"], 16)


@pytest.mark.parametrize(
    "entry", FILES["rewards.json"], ids=lambda entry: f"{entry['network']}-{entry['height']}"
)
def test_rewards_by_age(entry):
    params = load_params(entry["network"])
    whole = subsidy(params, entry["height"])
    assert (str(whole), str(whole // 2)) == (entry["subsidy"], entry["miner"])
    columns = [entry[f"{name}_by_age"] for name in ("carrier", "pledge", "share")]
    for age, (carrier, pledged, sharer) in enumerate(zip(*columns, strict=True)):
        part = slot(params, whole, age)
        assert (int(carrier), int(sharer)) == (part // CARRIERS_PART, part - part // CARRIERS_PART)
        assert int(pledged) == part // PLEDGED_PART

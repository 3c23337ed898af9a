"""A paid task from a folder to the model: opened, signalled, trained, paid, closed, refunded, pulled."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, load_file

from deepblock.cid import Cid
from deepblock.client import Client
from deepblock.data import embedded
from deepblock.primitives import DBK
from deepblock.tensors import split_manifest, unpack
from tests.functional.nodes import FAST, Node, running, wait_for

QUICK = {"epoch": 4, "signal_window": 4, "signals_needed": 3, "plateau": 32, "halving": 2}
"""Shorter than on any network, so that a task lives for a minute; and the subsidy falls so fast that the first blocks
pay for it."""


@pytest.fixture
def network(tmp_path: Path) -> str:
    file = tmp_path / "quick.json"
    file.write_text(json.dumps(json.loads(Path(FAST).read_text()) | QUICK))
    return str(file)


@pytest.fixture
def parity(tmp_path: Path) -> Path:
    """The digits as pictures, in folders that say whether they are even or odd."""
    split = unpack(embedded()[0], split_manifest((1, 8, 8), 1437))
    for name in ("even", "odd"):
        (tmp_path / "parity" / name).mkdir(parents=True)
    for index, (image, label) in enumerate(zip(split["inputs"], split["labels"], strict=True)):
        Image.fromarray(image[0]).save(
            tmp_path / "parity" / ("odd" if label % 2 else "even") / f"{index}.png"
        )
    return tmp_path / "parity"


HEAD = [{"kind": "linear", "out": 128}, {"kind": "gelu"}, {"kind": "linear", "out": "classes"}]


@pytest.fixture
def template(tmp_path: Path, network: str) -> Path:
    """The layers of the network's base task, with a larger head."""
    base = json.loads(Path(network).read_text())["base_tasks"][0]
    lengths = {name: base[name] for name in ("segments", "steps", "batch", "bits")}
    rates = {"lr_high": 0.1, "lr_low": 0.05, "momentum": 0.5, "decay": 0.0}
    file = tmp_path / "template.json"
    file.write_text(
        json.dumps({"inputs": ["images"], "layers": base["layers"][:3] + HEAD, **lengths, **rates})
    )
    return file


@pytest.mark.timeout(400)
def test_a_folder_of_pictures_becomes_a_model_that_was_paid_for(
    tmp_path: Path, network: str, parity: Path, template: Path
) -> None:
    miner = Node(tmp_path / "miner", network=network)
    with running(miner):
        miner.start("--mine")
        wait_for(lambda: money(miner)[0] > 16 * subsidy(miner.height + 1) + DBK, 120, "mature rewards", miner)
        opened = miner.deepblock(
            "task", "open", str(parity), "--template", str(template), "--from", "digits-fast", "--frozen", "3",
            "--blocks", "16", "--target", "0.12", "--yes", "--wait",
        )  # fmt: skip
        assert "the first 3 of 6 layers start from task digits-fast; the first 3 are frozen" in opened.stdout
        task = next(line.split()[1] for line in opened.stdout.splitlines() if line.startswith("task bafy"))
        watched = miner.deepblock("task", "watch", task, "--json")
        moments = [json.loads(line) for line in watched.stdout.splitlines()]
        losses = [moment["loss"] for moment in moments if moment["loss"] is not None]
        assert moments[-1]["status"] == "closed: target"
        assert losses == sorted(losses, reverse=True)  # a model is never worse than the one before
        assert losses[-1] <= 0.12

        model = tmp_path / "parity.safetensors"
        miner.deepblock("model", "pull", "--task", "parity", "-o", str(model))
        start = miner.call("task_get", task)["spec"]["start"]["weights"]
        trained, given = load_file(model), load(Client(miner.facts["rpc"]).fetch_file(Cid.parse(start)))
        assert trained["3.weight"].shape == (128, 32)
        assert all(np.array_equal(trained[name], given[name]) for name in ("1.weight", "1.bias"))
        the_money_is_where_it_belongs(miner, task)


def money(node: Node) -> tuple[int, int]:
    """What the miner can spend, and what is maturing."""
    account = node.call("state_getAccount", node.call("miner_status")["address"])
    return int(account["balance"]), int(account["immature"])


def subsidy(height: int) -> int:
    return 50 * DBK >> (height - 1) // QUICK["halving"]


def minted(node: Node, height: int) -> int:
    """Up to a height, for sessions of base tasks (rules R2 and R4)."""
    base = {task["id"] for task in node.call("task_list") if task["status"] == "base"}
    total = 0
    for at in range(1, height + 1):
        block = node.call("chain_getBlock", at)
        paid = [share["header"] for share in block["body"]["shares"] if share["header"]["task"] in base]
        total += subsidy(at) // 2 if block["header"]["task"] in base else 0
        total += sum(subsidy(at) * (6 - at + share["height"]) // 96 for share in paid)
    return total


def the_money_is_where_it_belongs(node: Node, task: str) -> None:
    """Who pays is who mines here: it has got its pay and its fees back, and what was minted."""
    contract = node.call("task_get", task)["contract"]
    assert (contract["escrow"], contract["reserved"]) == ("0", "0")
    while (height := node.height) and sum(money(node)) != minted(node, height):
        assert sum(money(node)) >= minted(node, height), "money is missing"

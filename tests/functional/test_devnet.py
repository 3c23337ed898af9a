"""What a newcomer sees: the devnet mines by itself, its model gets better, and other libraries can use it."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file
from torch import nn

from deepblock import data
from tests.functional.nodes import Node, running, wait_for


@pytest.mark.timeout(400)
def test_a_node_alone_trains_a_model_that_the_safetensors_library_opens(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", network="devnet")
    with running(node):
        node.start("--mine")
        wait_for(lambda: node.height >= 1, 120, "the first block", node)
        first = posted(node)
        file = tmp_path / "model.safetensors"
        what = "a better model, with 97 % on the held-out split"
        pulled = wait_for(lambda: learnt(node, file, first["held_out"]["loss"]), 240, what, node)
        assert first["height"] < pulled["lineage"][0]["height"] <= 40
        for line in ("status", "balance", "block"):
            assert node.deepblock(line).stdout.strip()
        assert node.stop() == 0
    assert "Traceback" not in node.log()


def learnt(node: Node, file: Path, before: float) -> dict[str, Any] | None:
    """Pulls the model of this moment, and holds plain torch's judgement of it against the chain's: not more than
    two of 360 apart. What `model pull` says of it, where torch finds 97 % or more, and the loss is below `before`."""
    pulled: dict[str, Any] = json.loads(node.deepblock("model", "pull", "-o", str(file), "--json").stdout)
    accuracy = held_out_accuracy(file)
    assert abs(accuracy - pulled["held_out"]["accuracy"]) < 2.5 / 360
    return pulled if accuracy >= 0.97 and pulled["held_out"]["loss"] < before else None


def posted(node: Node) -> dict[str, Any]:
    """chain_head, as curl would ask."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "chain_head"}).encode()
    with urllib.request.urlopen(urllib.request.Request(node.facts["rpc"], body), timeout=10) as answer:
        return json.loads(answer.read())["result"]  # type: ignore[no-any-return]


def held_out_accuracy(file: Path) -> float:
    """By plain torch, from the model file alone: nothing of ours computes here."""
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1)]
    model = nn.Sequential(*convolutions, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))
    model.load_state_dict(load_file(file))
    tensors = load(data.embedded()[1])
    inputs = torch.from_numpy((tensors["inputs"].numpy().astype(np.float32) - 5) / 6)
    return float((model(inputs).argmax(1) == tensors["labels"]).double().mean())

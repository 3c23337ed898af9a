"""The testnet on the real Fashion-MNIST: imported on one node, fetched by CID on the other, one session trained."""

import json
import time
from pathlib import Path

import pytest

from tests.functional.nodes import Node, running, wait_for

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

pytestmark = pytest.mark.skipif(
    not FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed (/usr/share/datasets)"
)


@pytest.mark.timeout(300)
def test_imported_data_is_what_the_preset_names_and_spreads_to_peers(tmp_path: Path) -> None:
    owner = Node(tmp_path / "owner", network="testnet")
    fetcher = Node(tmp_path / "fetcher", network="testnet")
    with running(owner, fetcher):
        owner.folder.mkdir()
        printed = owner.deepblock("data", "import", "fashion-mnist", str(FASHION_MNIST)).stdout
        owner.start("--no-mine")
        (task,) = owner.call("task_list")
        spec = owner.call("task_get", task["id"])["spec"]
        assert spec["train"] in printed
        assert spec["heldout"] in printed

        fetcher.start("--mine", "--bootstrap", owner.address)
        status = wait_for(
            lambda: (now := fetcher.call("miner_status"))["segment"] >= 1 and now,
            200,
            "a segment on fetched data",
            fetcher,
        )
        assert status["segments"] == spec["segments"]
        assert json.loads(fetcher.deepblock("--json", "status").stdout)
        began = time.monotonic()
        assert fetcher.stop() == 0
        assert time.monotonic() - began < 15, "a session in progress does not hold up the end"

"""Nothing that a sponsor can open stops the chain."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.client import Client
from deepblock.codec import cid_of
from deepblock.data import embedded, pack_split
from deepblock.keys import Wallet
from deepblock.spec import RATE_ONE, TaskSpec
from deepblock.tensors import split_manifest, unpack
from deepblock.transactions import OpenTask
from tests.functional.nodes import FAST, Node, running, wait_for

QUICK = {"epoch": 2, "signal_window": 2, "signals_needed": 2, "plateau": 3, "halving": 2}
"""The subsidy falls so fast that what the first blocks gave pays for four tasks soon."""
EPOCHS = 6
MOST = RATE_ONE - 1


def bad_tasks(base: dict[str, object], blobs: Blockstore) -> dict[str, TaskSpec]:
    """A learning rate at which every session diverges, one at which none gets anywhere, labels that are noise, and data
    of its own, which will vanish."""
    train, heldout = embedded()
    digits = unpack(heldout, split_manifest((1, 8, 8), 360))
    labels = np.random.default_rng(1).integers(0, 10, 360).astype(np.uint8)
    noise = blobs.put_file(pack_split(digits["inputs"], labels))
    images = unpack(train, split_manifest((1, 8, 8), 1437))
    own = blobs.put_file(pack_split(images["inputs"][::-1], images["labels"][::-1]))
    changes: dict[str, dict[str, object]] = {
        "diverges": {"lr_high": MOST, "lr_low": MOST, "momentum": MOST, "decay": MOST},
        "stands still": {"lr_high": RATE_ONE >> 12, "lr_low": RATE_ONE >> 12, "momentum": 0},
        "noise": {"heldout": str(noise)},
        "vanishes": {"train": str(own)},
    }
    return {
        name: TypeAdapter(TaskSpec).validate_python(base | change | {"name": name})
        for name, change in changes.items()
    }


@pytest.mark.timeout(900)
def test_no_task_stops_the_chain(tmp_path: Path) -> None:
    preset = json.loads(Path(FAST).read_text()) | QUICK
    (tmp_path / "quick.json").write_text(json.dumps(preset))
    node = Node(tmp_path / "node", network=str(tmp_path / "quick.json"))
    with running(node):
        node.start("--mine")
        client, blobs = Client(node.facts["rpc"]), Blockstore(node.folder / "blobs")
        wallet = Wallet.load(node.folder / "wallet.json")
        specs = bad_tasks(preset["base_tasks"][0], blobs)

        def pay() -> int:
            return client.task_quote(specs["noise"]).least_pay

        def price() -> int:
            return 10**6 + EPOCHS * preset["epoch"] * pay()

        def rich() -> bool:
            return client.state_get_account(wallet.address).balance >= len(specs) * price()

        wait_for(rich, 180, "rewards for four tasks", node)
        network, least = client.node_info().network, pay()
        for nonce, spec in enumerate(specs.values()):
            escrow = EPOCHS * preset["epoch"] * least
            client.tx_send(
                wallet.sign(OpenTask(network, wallet.key, nonce, 10**6, spec, least, escrow, None))
            )
        tasks = {name: cid_of(spec) for name, spec in specs.items()}
        wait_for(lambda: client.task_get(tasks["vanishes"]).status == "active", 120, "signals", node)
        blobs.remove(specs["vanishes"].train)

        wait_for(
            lambda: all(client.task_get(task).closed for task in tasks.values()), 600, "all to end", node
        )
        ends = {name: client.task_get(task) for name, task in tasks.items()}
        assert ends["vanishes"].closed == "idle" and ends["vanishes"].blocks == 0
        print({name: (end.closed, end.blocks) for name, end in ends.items()})
        assert {end.closed for end in ends.values()} <= {"budget", "idle", "plateau"}
        assert all(
            end.contract and end.contract.escrow == end.contract.reserved == 0 for end in ends.values()
        )
        blocks_kept_coming(client, preset, set(tasks.values()))
    assert "Traceback" not in node.log()


def blocks_kept_coming(client: Client, preset: dict[str, int], bad: set[Cid]) -> None:
    """Whoever waited long did it for the fallback, and then came base task 0."""
    headers = [info.header for info in client.chain_get_headers(1, 256)]
    pauses = [(after, after.timestamp - before.timestamp) for before, after in pairwise(headers)]
    longest = sorted((pause // preset["block_time"] for _, pause in pauses), reverse=True)
    print(f"the longest of {len(pauses)} pauses, in block times: {longest[:12]}")
    late = {after.task for after, pause in pauses if pause >= preset["fallback_after"] * preset["block_time"]}
    assert late, "the task whose data vanished had its turn"
    assert not bad & late

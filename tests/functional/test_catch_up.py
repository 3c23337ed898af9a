"""A node far behind, whose three peers are an honest one, one that lies and one that stalls."""

from pathlib import Path

import pytest

from tests.functional.nodes import Node, running, wait_for
from tests.network.catch_up import SILENT, TRANSFERS, grown, killed_half_way, liars

BLOCKS = 400


@pytest.mark.timeout(300)
def test_it_catches_up_and_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    line = grown(tmp_path / "source", BLOCKS, "devnet", TRANSFERS)
    source, behind = (Node(tmp_path / name, *SILENT, network="devnet") for name in ("source", "behind"))
    with running(source, behind), liars(line) as (liar, staller):
        source.start()
        before, after = killed_half_way(behind, (liar, staller, source.address), BLOCKS)
        assert BLOCKS // 2 < before <= after - 1
        behind.start("--bootstrap", liar, staller, source.address)
        wait_for(lambda: behind.call("node_info")["sync"]["state"] == "synced", 60, "it to be synced", behind)
        assert behind.head["id"] == source.head["id"] == str(line[-1][0].id)
        served_wrong = [
            event for event in behind.events("peer_penalised") if "other bytes" in event["reason"]
        ]
        assert {event["peer"] for event in served_wrong} <= {liar.split("/")[-1]}
        assert source.address.split("/")[-1] not in {e["peer"] for e in behind.events("peer_penalised")}

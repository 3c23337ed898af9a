"""The benchmarks still run, with tiny sizes, and what they check of their results holds. No speed is asserted."""

import json

import pytest

from tests.bench import __main__, audits, blocks, breakdown, p2p, steps
from tests.bench.bare import bare
from tests.bench.rpc import Callers
from tests.bench.table import Row, alternating, lines, paired


def test_a_ratio_is_the_median_of_the_pairs():
    row = paired("what", "ms", [(2, 1), (30, 10), (5, 5)], "how")
    assert (row.measured, row.baseline, row.ratio) == (5, 5, 2)


def test_both_sides_are_first_in_turn():
    order = []
    pairs = alternating(
        lambda turn: order.append(("ours", turn)), lambda turn: order.append(("theirs", turn)), 2
    )
    assert len(pairs) == 2
    assert order == [("theirs", 0), ("ours", 0), ("ours", 1), ("theirs", 1), ("theirs", 2), ("ours", 2)]


def test_a_row_is_a_line_that_says_everything():
    *_, line = lines({}, iter([Row("blocks", 1234.5, 0.5678, 2174.2, "ms", "somehow; median of 3")]))
    assert line.split("  ")[0] == "blocks"
    for part in ("1,234 ms", "0.568 ms", "2,174×", "somehow; median of 3"):
        assert part in line


def test_the_json_has_the_rows_and_the_machine(capsys, monkeypatch):
    row = paired("what", "ms", [(2, 1)], "how")
    monkeypatch.setattr(__main__, "BENCHMARKS", {"one": lambda: iter([row])})
    monkeypatch.setattr("sys.argv", ["bench", "one", "--json"])
    assert __main__.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == [
        {"what": "what", "measured": 2, "baseline": 1, "ratio": 2, "unit": "ms", "how": "how; median of 1"}
    ]
    assert {"hardware", "system", "python", "torch", "commit"} <= set(told["machine"])


def test_exact_and_plain_steps_train_alike():
    pairs, _ = steps.compare("digits", threads=1, count=2, steps=25)
    assert len(pairs) == 2


@pytest.mark.parametrize("network", ["residual", "transformer"])
def test_the_plain_loop_has_every_layer(network):
    pairs, _ = steps.compare(network, threads=1, count=1, steps=1)
    assert len(pairs) == 1


def test_where_time_goes_adds_up():
    rows = list(breakdown.measure(steps=2, cases=(("digits", 8),)))
    assert {row.what.split(": ")[1] for row in rows} == set(breakdown.KINDS) - {"pooling"}


def test_an_audit_agrees_with_its_session():
    row = audits.compare("digits", 4, 1, shares=1)
    assert row.how.startswith("block with 1 shares, sessions of 20 segments (4 of them run); by MACs 0.2")


def test_made_up_chains_pass_the_pipeline():
    rows = list(blocks.measure(empty=20, sizes=((3, 2), (20, 1)), alone=1, waiting=1, threads=2))
    assert [(row.what, row.unit) for row in rows] == [
        ("import of empty blocks", "blocks/s"),
        ("import of 3 transfers, 2 threads", "tx/s"),
        ("import of 20 transfers, 2 threads", "tx/s"),
        ("import of 20 transfers, 1 thread", "tx/s"),
        ("import of 20 transfers, from the pool", "tx/s"),
    ]


def test_callers_wait_for_whole_answers(tmp_path):
    answer = json.dumps({"result": {"id": "a block", "filler": "x" * 200_000}}).encode()
    (tmp_path / "answer").write_bytes(answer)
    with bare("http", tmp_path / "answer") as port:
        rate, last = Callers("any", [], "a block").call(port, 0.05)
    assert last == answer
    assert rate > 0


@pytest.mark.functional
def test_a_node_serves_a_file():
    rows = list(p2p.measure(size=600_000, count=1))
    assert [row.what for row in rows] == ["p2p fetch of 0.6 MB"] * 2

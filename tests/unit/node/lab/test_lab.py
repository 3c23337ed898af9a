"""The attack lab: 200 seeded runs with attackers of every kind, and a checker that can fail.

Shorter than the whole, which is `deepblock lab --runs 200 --nodes 20 --blocks 500`: 10 nodes and 24 blocks a run. That
is enough for what must hold in every run; what attacking earns is only compared where a strategy loses by far.
"""

import functools
import json
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from consensus.audit import judge, plan_all
from consensus.errors import Fraud
from consensus.state import Supply
from deepblock import cli
from deepblock.codec import encode
from node.lab import invariants
from node.lab.catalogue import STRATEGIES, UNBOUNDED
from node.lab.honest import Honest
from node.lab.report import TOLERANCE, Summary, summarise
from node.lab.run import Setup, populate, run
from node.lab.world import SPEC, World

ROOT = Path(__file__).parents[4]
RUNS = 200


@functools.cache
def summary(name):
    """Of the 200 runs, those of one strategy: the seeds are dealt in turn."""
    first = list(STRATEGIES).index(name)
    setups = [Setup(name, seed, nodes=10, blocks=24) for seed in range(first, RUNS, len(STRATEGIES))]
    return summarise(name, [run(setup) for setup in setups])


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_strategy_breaks_an_invariant(name):
    assert summary(name).problems == ()


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in UNBOUNDED])
def test_no_strategy_earns_more_than_its_work(name):
    assert not summary(name).wins


@pytest.mark.parametrize("name", ["faker-first", "faker-last-but-one", "faker-last"])
def test_who_forges_every_session_earns_far_less_than_its_work(name):
    assert summary(name).ratio < 0.8


def test_a_sponsor_gains_nothing_by_a_shortcut_through_its_own_task():
    """In runs long enough for its money to mature and its task to be trained."""
    gaps = [run(Setup("sponsor", seed, nodes=8, blocks=200)) for seed in (1, 2, 3)]
    assert summarise("sponsor", gaps).gap > -TOLERANCE


def test_a_run_repeats_exactly_from_its_seed():
    setup = Setup("selfish-miner", 5, nodes=8, blocks=20)
    assert run(setup) == run(setup)
    assert run(setup) != run(replace(setup, seed=6))


# --- the checker can fail ---------------------------------------------------------------------------------------


def network(strategy="honest", blocks=8):
    """A network that has made some blocks."""
    world = World(3)
    populate(world, Setup(strategy, 3, nodes=6))
    while world.peers[-1].tree.head.height < blocks:
        world.step()
    return world


def test_the_checker_sees_that_money_is_missing():
    world = network()
    tree = world.peers[-1].tree
    assert list(invariants.problems(world.ledger, [tree], True)) == []
    entry = world.ledger.entries[tree.head.id]
    values = {**entry.values, b"s": encode(Supply(7))}
    world.ledger.entries[tree.head.id] = replace(entry, values=values)
    assert "7 motes were issued" in next(invariants.problems(world.ledger, [tree], True))


def test_the_checker_sees_that_a_chain_never_became_one():
    world = network()
    assert "heads" in next(invariants.problems(world.ledger, [peer.tree for peer in world.peers], False))


def test_the_checker_sees_a_false_block_that_is_final():
    world = World(3)
    populate(world, Setup("faker-last", 3, nodes=6))
    liar = world.peers[0]
    while not liar.tree.head.height or not is_false(world, liar.tree.head.id):
        world.step()
    world.ledger.params = replace(world.ledger.params, finality=0)
    (problem,) = [
        one for one in invariants.problems(world.ledger, [liar.tree], True) if "final and false" in one
    ]
    assert f"segment {SPEC.segments}" in problem


def is_false(world, block):
    entry = world.ledger.entries[block].block
    try:
        judge(plan_all(SPEC.segments), entry.seal, world.ledger.findings(entry.header, entry.seal, block))
    except Fraud:
        return True
    return False


def test_a_strategy_that_takes_more_than_its_share_is_named():
    one = Summary("thief", 9, 0.7, 0.6, -0.1, 0.01, 1.5, 0.5, 0.1, 1.0, ())
    assert one.wins
    assert not replace(one, gap=-0.04).wins  # within three standard errors
    assert not replace(one, strategy="selfish-miner").wins  # reported, not promised


# --- its parts -----------------------------------------------------------------------------------------------------


def test_a_forged_segment_is_found_exactly_when_it_is_drawn():
    world = network("faker-last-but-one")
    liars = {peer.address for peer in world.peers if type(peer) is not Honest}
    blocks = [entry.block for entry in world.ledger.entries.values() if entry.block.header.miner in liars]
    assert blocks
    for block in blocks:
        found, last = world.ledger.findings(block.header, block.seal, block.id), SPEC.segments
        false = [i for i in range(1, last + 1) if found.states[i] != block.seal.states[i - 1]]
        assert false == [last - 1]


def test_a_crash_loses_what_was_not_written():
    world = network()
    node: Honest = world.peers[-1]
    node.disk.sync()
    before = node.tree.head.id
    other = world.peers[0]
    while node.tree.head.id == before:
        world.step()
    node.crash(1.0)
    assert node.down and node.disk.load(32).head.id == before
    while node.down or node.tree.head.id != other.tree.head.id:
        world.step()


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def deepblock(monkeypatch, capsys):
    """The command, with the entry point that pyproject.toml declares, whatever is installed."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][cli.COMMANDS]
    entries = [EntryPoint(name, value, cli.COMMANDS) for name, value in declared.items()]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)

    def run(*words):
        status = cli.main(words)
        return status, *capsys.readouterr()

    return run


def test_the_lab_prints_what_a_strategy_earned(deepblock):
    status, out, _ = deepblock("lab", "thief", "--runs", "2", "--nodes", "8", "--blocks", "24")
    assert status == 0
    assert out.splitlines()[1].split()[:2] == ["thief", "2"] and "earned" in out


def test_the_lab_speaks_json(deepblock):
    _, out, _ = deepblock("--json", "lab", "honest", "--runs", "2", "--nodes", "6", "--blocks", "4")
    one, other = map(json.loads, out.splitlines())
    assert (one["setup"]["seed"], other["setup"]["seed"]) == (1, 2)
    assert one["setup"]["strategy"] == "honest" and one["height"] >= 4 and not one["problems"]


def test_the_lab_lists_its_strategies(deepblock):
    _, out, _ = deepblock("lab", "--list")
    assert [line.split()[0] for line in out.splitlines()] == list(STRATEGIES)


def test_an_unknown_strategy_is_one_sentence(deepblock):
    status, _, error = deepblock("lab", "bribery")
    assert status == 1 and "'bribery'" in error and error.count("\n") == 1

"""`deepblock task …` against a node's real parts."""

import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from deepblock import cli
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.commands import task_watch
from deepblock.commands.task_watch import sparkline
from deepblock.data import check_files
from deepblock.primitives import DBK
from deepblock.spec import check_bounds
from deepblock.tensors import split_manifest, unpack
from deepblock.transactions import CloseTask, FundTask, OpenTask
from tests.rpc_parts import PARAMS, TRAIN, Parts, serving

ROOMY = replace(PARAMS, max_task_cost=400, halving=1)
"""The base tasks of these parts are too small to be a measure; and the subsidy halves with each block, so that what the
first blocks gave buys tasks later."""

TERMS = ("--pay", "5", "--blocks", 4, "--template", "mlp")


@pytest.fixture
def parts(tmp_path):
    parts = Parts(tmp_path / "node", ROOMY)
    for _ in range(4):
        parts.grow()  # 25 DBK, 12.5, and so on; two of them mature
    return parts


@pytest.fixture
def digits(tmp_path):
    split = unpack(TRAIN, split_manifest((1, 8, 8), 1437))
    (tmp_path / "numerals").mkdir()
    np.savez(tmp_path / "numerals" / "data.npz", x=split["inputs"], y=split["labels"])
    return tmp_path / "numerals"


@pytest.fixture
def run(parts, capsys, monkeypatch):
    """Runs `deepblock task` with the words given: status, stdout, stderr."""
    parts.wallet.save(parts.folder / "wallet.json")
    monkeypatch.setenv("DEEPBLOCK_DATA_DIR", str(parts.folder))
    with serving(parts.services) as url:
        facts = {"pid": os.getpid(), "rpc": url, "network": str(parts.chain.network)}
        (parts.folder / "node.json").write_text(json.dumps(facts))

        def command(*words):
            capsys.readouterr()
            status = cli.main(["task", *map(str, words)])
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        yield command


def opened(parts, run, folder, *words):
    """What these words sign to open a task, which is on the chain then."""
    status, _, err = run("open", folder, *TERMS, "--yes", *words)
    assert status == 0, err
    (transaction,) = parts.mempool.pending()
    parts.grow([transaction])
    return transaction.payload


def signalled(parts, task):
    """Blocks that signal the task, until the next one trains it."""
    while parts.chain.state().schedule().current != task:
        (listed,) = parts.chain.state().open_tasks().items
        parts.grow(signals=() if listed.active else (task,))
        assert parts.chain.head.height < 40


# --- open -------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_paid_task(parts, run, digits):
    payload = opened(parts, run, digits, "--target", "0.3")
    assert isinstance(payload, OpenTask)
    spec = payload.spec
    assert (payload.pay, payload.escrow) == (5 * DBK, 20 * DBK)
    assert payload.target == 300_000 * spec.n_heldout
    assert (spec.name, spec.input_shape, spec.classes, spec.start) == ("numerals", (1, 8, 8), 10, None)
    assert (spec.n_train + spec.n_heldout, spec.n_heldout >= 64) == (1437, True)
    check_bounds(spec, ROOMY.min_train)
    check_files(spec, parts.blobs)  # the node has them, and a miner could train on them
    assert parts.chain.state().task(cid_of(spec)).contract.escrow == 20 * DBK


def test_unless_said_a_task_pays_the_least_that_is_taken(run, digits):
    found = json.loads(run("open", digits, "--blocks", 2, "--template", "mlp", "--dry-run", "--json")[1])
    assert (found["pay"], found["escrow"]) == (str(50 * DBK >> 4), str(2 * 50 * DBK >> 4))


def test_the_offer_comes_first_and_nothing_happens_without_a_yes(parts, run, digits, monkeypatch):
    status, out, _ = run("open", digits, *TERMS, "--dry-run")
    assert status == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert "MACs" in rows["session"] and "sessions for a block" in rows["work"]
    assert rows["pay"].startswith("5 DBK a block") and rows["escrow"].startswith("20 DBK, for 4 blocks")
    assert "at the earliest" in rows["begins"] and "of a session" in rows["checking"]
    found = json.loads(run("open", digits, *TERMS, "--dry-run", "--json")[1])
    assert (found["blocks"], found["escrow"]) == (4, str(20 * DBK))
    assert found["checking"] <= 0.1
    assert not any(parts.blobs.has(Cid.parse(found["spec"][name])) for name in ("train", "heldout"))

    assert "say --yes" in run("open", digits, *TERMS)[2]
    terminal = io.StringIO("n\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    status, out, _ = run("open", digits, *TERMS)
    assert (status, parts.mempool.pending()) == (1, [])
    assert "open this task for 20 DBK? [y/N]" in out and "nothing was paid" in out


@pytest.mark.parametrize("later", range(4))
def test_the_first_block_is_where_the_offer_says(parts, run, digits, later):
    for _ in range(later):
        parts.grow()
    found = json.loads(run("open", digits, *TERMS, "--dry-run", "--json")[1])
    signalled(parts, cid_of(opened(parts, run, digits).spec))
    assert parts.chain.head.height + 1 == found["starts_at"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--blocks", 2000), "the escrow is 10,000 DBK, and dbk1"),
        (("--blocks", 2000), "the least, for --blocks 1, is 5 DBK"),
        (("--blocks", 0), "less than one epoch"),
        (("--pay", "much"), "'much' is not an amount"),
        (
            ("--pay", "3.1"),
            "a pay of 3.1 DBK a block, but it takes the place of the subsidy: at least 3.125 DBK",
        ),
        (("--template", "resnet"), "neither a file nor one of cnn, mlp, text, transformer"),
        (("--template", "text"), "the template is for texts, and the data are images"),
        (("--template", "cnn"), "a session of"),
        (("--template", "broken.json"), "broken.json: inputs: Field required"),
        (("--target", "100%"), "100% is out of reach"),
        (("--target", "low"), "is neither a loss"),
        (("--target", "90"), "an accuracy ends in %"),
        (("--frozen", "1"), "say with --from"),
        (("--from", "nobody"), "0 tasks are called 'nobody'"),
        (("--heldout", "500"), "--heldout 500: it can be 1 to"),
        (("--size", "huge"), "is not a size such as 28"),
        (("--wallet", "none.json"), "none.json"),
    ],
)
def test_offers_that_cannot_be_made(run, digits, monkeypatch, words, complaint):
    monkeypatch.chdir(digits)
    (digits / "broken.json").write_text('{"layers": 3}')
    status, _, err = run("open", "data.npz", *TERMS, "--yes", *words)
    assert status == 1 and complaint in err, err
    assert err.count("\n") == 1


def test_too_few_examples(run, digits, tmp_path):
    np.savez(tmp_path / "few.npz", x=np.arange(100, dtype=np.uint8)[:, None], y=np.arange(100) % 2)
    _, _, err = run("open", tmp_path / "few.npz", *TERMS, "--dry-run")
    assert (
        "there are 100 examples; this network asks for 1,000 to train on, and 64 at least are held out" in err
    )


def test_a_node_that_keeps_its_files_elsewhere(parts, run, digits, tmp_path):
    url = json.loads((parts.folder / "node.json").read_text())["rpc"]
    wallet = parts.folder / "wallet.json"
    away = ("--rpc", url, "--data-dir", tmp_path / "away", "--wallet", wallet)
    _, _, err = run("open", digits, *TERMS, "--yes", *away)
    assert "does not serve them: it keeps its files elsewhere" in err
    assert not parts.mempool.pending()


# --- from another model -------------------------------------------------------------------------------------


def test_a_task_starts_from_the_layers_of_a_model_that_fit(parts, run, digits, tmp_path):
    weights = {
        "1.weight": np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32),
        "1.bias": -np.zeros(64, np.float32),
        "3.weight": np.zeros((26, 64), np.float32),
        "3.bias": np.zeros(26, np.float32),
    }
    save_file(weights, tmp_path / "letters.safetensors")
    spec = opened(parts, run, digits, "--from", tmp_path / "letters.safetensors", "--frozen", 2).spec
    assert (spec.start.layers, spec.start.frozen) == (3, 2)  # flatten, linear, relu; not the head of 26
    check_files(spec, parts.blobs)
    assert "starts from" in run("show", "numerals")[1]
    _, _, err = run(
        "open", digits, *TERMS, "--yes", "--from", tmp_path / "letters.safetensors", "--frozen", 4
    )
    assert "--frozen 4: only the first 3 layers" in err
    save_file({"1.weight": np.zeros((2, 2), np.float32)}, tmp_path / "other.safetensors")
    _, _, err = run("open", digits, *TERMS, "--yes", "--from", tmp_path / "other.safetensors")
    assert "the first weights, 1.weight, have to be (64, 64) and are (2, 2)" in err


def test_a_task_whose_model_is_not_here(run, digits):
    assert "is not here" in run("open", digits, *TERMS, "--yes", "--from", "digits")[2]


# --- money and watching -----------------------------------------------------------------------------------


def test_funding_and_closing(parts, run, digits):
    task = cid_of(opened(parts, run, digits).spec)
    assert run("fund", "numerals", "1.5")[0] == 0
    assert run("close", task)[0] == 0
    fund, close = (transaction.payload for transaction in parts.mempool.pending())
    assert (type(fund), fund.task, fund.amount) == (FundTask, task, DBK * 3 // 2)
    assert (type(close), close.task) == (CloseTask, task)
    parts.grow(parts.mempool.pending())
    for _ in range(4):
        parts.grow()
    assert "closed: sponsor" in run("list")[1].splitlines()[-1]
    assert parts.chain.state().task(task).contract.escrow == 0


def test_watching_until_a_task_closes(parts, run, digits, monkeypatch):
    spec = opened(parts, run, digits).spec
    task = cid_of(spec)
    signalled(parts, task)

    def pause(seconds):
        parts.grow(loss=spec.n_heldout * 10**6 // parts.chain.head.height)
        assert parts.chain.head.height < 60

    monkeypatch.setattr(task_watch.time, "sleep", pause)
    status, out, _ = run("watch", "numerals")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "active, trained now; escrow 20 DBK" and lines[-1].startswith("closed: budget")
    blocks = [line for line in lines if line.startswith("block ")]
    found = parts.chain.state().task(task)
    assert len(blocks) == found.blocks > 4  # nobody carries shares, so half of the pay is left
    assert "block 1 of the task" in blocks[0] and "loss 0.1000" in blocks[0]
    moments = [json.loads(line) for line in run("watch", task, "--json")[1].splitlines()]
    assert [moment["blocks"] for moment in moments] == [*range(1, found.blocks + 1), found.blocks]
    assert moments[-1]["status"] == "closed: budget"


def test_a_curve_in_a_line():
    assert sparkline([]) == ""
    assert sparkline([1.0]) == "▁"
    assert sparkline([8.0, 4.5, 1.0]) == "█▅▁"
    assert len(sparkline(list(range(1000)), width=60)) == 60

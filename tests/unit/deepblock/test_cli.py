"""The command `deepblock` against a node's real parts; the sessions that it replays were really trained."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from deepblock import cli
from deepblock.amounts import format_dbk, parse_dbk
from deepblock.client import Client
from deepblock.commands.context import default_data_dir
from deepblock.commands.wallet import sign
from deepblock.keys import Wallet
from deepblock.training.session import run_session
from deepblock.training.state import Work
from deepblock.types import DBK, Block, Body, Result, Seal
from tests.rpc_parts import HELDOUT, PARAMS, TRAIN, Parts, serving

BOB = Wallet(b"\1" * 32).address


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path)


@pytest.fixture
def run(parts, capsys, monkeypatch):
    """Runs `deepblock` with the words given: status, stdout, stderr."""
    parts.wallet.save(parts.folder / "wallet.json")
    monkeypatch.setenv("DEEPBLOCK_DATA_DIR", str(parts.folder))
    with serving(parts.services) as url:
        (parts.folder / "node.json").write_text(json.dumps({"rpc": url}))

        def command(*words):
            capsys.readouterr()  # what the server and the test itself have written
            status = cli.main([str(word) for word in words])
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        yield command


def train(parts):
    """The next block, whose session is trained here."""
    parts.blobs.put_file(TRAIN)
    parts.blobs.put_file(HELDOUT)
    body = Body()
    header = parts.next_header(body)
    task = parts.chain.state().task(header.task)
    found = run_session(
        Work(parts.chain.specs[header.task], header.seed, task.model),
        parts.blobs,
        on_segment=lambda *_: None,
        on_step=lambda *_: None,
        should_stop=lambda: False,
    )
    seal = Seal(found.states, found.average, found.score)
    return parts.commit(Block(header, seal, Result(found.average, found.score)), body)


# --- what the chain says -----------------------------------------------------------------------------------


def test_status_for_people_and_for_programs(parts, run):
    for _ in range(4):
        parts.grow(loss=90_000_000)
    status, out, _ = run("status")
    assert status == 0
    assert "block 4" in out and "held-out loss 0.2500" in out and "50 DBK" in out
    status, out, _ = run("status", "--json")
    found = json.loads(out)
    assert (found["head"]["height"], found["account"]["balance"]) == (4, str(50 * DBK))
    assert json.loads(run("--json", "status")[1]).keys() == found.keys()


def test_block_by_height_by_id_and_the_head(parts, run):
    blocks = [parts.grow() for _ in range(2)]
    assert str(blocks[0].id) in run("block", 1)[1]
    assert run("block", blocks[1].id)[1] == run("block")[1] == run("block", 2)[1]
    assert json.loads(run("block", 0, "--json")[1])["header"]["height"] == 0


def test_balance_of_the_wallet_and_of_an_address(parts, run):
    for _ in range(3):
        parts.grow()
    assert run("balance")[1] == "25 DBK and 50 maturing\n"
    assert run("balance", BOB)[1] == "0 DBK\n"
    assert json.loads(run("balance", "--json")[1])["balance"] == str(25 * DBK)


# --- money -------------------------------------------------------------------------------------------------


def test_sending_pays_the_least_fee_and_arrives(parts, run):
    for _ in range(3):
        parts.grow()
    status, out, _ = run("send", BOB, "1.5")
    assert status == 0
    (transaction,) = parts.mempool.pending()
    assert out.splitlines()[0] == str(transaction.id)
    assert transaction.payload.fee == parts.params.fee_per_byte * transaction.size
    assert run("send", BOB, "0.00000001", "--fee", "0.5", "--json")[0] == 0  # the nonce counts what waits
    parts.grow(parts.mempool.pending())
    assert run("balance", BOB)[1] == "1.50000001 DBK\n"


def test_sending_waits_for_the_block(parts, run, monkeypatch):
    for _ in range(3):
        parts.grow()
    monkeypatch.setattr("deepblock.commands.wallet.time.sleep", lambda _: parts.grow(parts.mempool.pending()))
    status, out, _ = run("send", BOB, "1", "--wait", "--json")
    assert (status, json.loads(out)["height"]) == (0, 4)


@pytest.mark.parametrize("rate", [1, 10, 117, 10**6])
def test_the_fee_covers_its_own_bytes(tmp_path, rate):
    parts = Parts(tmp_path, replace(PARAMS, fee_per_byte=rate))
    with serving(parts.services) as url:
        transaction = sign(Client(url), parts.wallet, BOB, 2**33)
    assert transaction.payload.fee >= rate * transaction.size
    assert transaction.payload.fee - rate * transaction.size <= 8 * rate


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["send", BOB, "1"], "can spend 0 DBK"),
        (["send", BOB, "1e3"], "not an amount of DBK"),
        (["send", BOB, "0.123456789"], "at most 8 decimals"),
        (["send", "dbk1nobody", "1"], "not an address"),
        (
            ["send", BOB, "1", "--wallet", "/nowhere/wallet.json"],
            "there is no wallet at /nowhere/wallet.json",
        ),
        (["balance", "me"], "not an address"),
        (["block", "bafynothing"], "not the CID of a block"),
        (["block", "77"], "no block at height 77"),
        (["replay", "0"], "genesis"),
        (["replay", "9"], "no block at height 9"),
        (["model", "pull"], "no model yet"),
        (["model", "pull", "--task", "cats"], "0 tasks are called 'cats'; this chain has digits, other"),
        (["data", "import", "fashion-mnist", "/nowhere"], "/nowhere"),
        (["status", "--rpc", "http://127.0.0.1:1"], "no node answers at http://127.0.0.1:1"),
        (["keys", "show", "/nowhere/wallet.json"], "there is no wallet"),
    ],
)
def test_every_error_is_one_sentence(run, words, says):
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert says in err
    assert err.startswith("deepblock: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["send", BOB], ["replay", "-1"], ["replay", "1", "--threads", "0"]]
)
def test_wrong_usage_is_status_2(run, words):
    with pytest.raises(SystemExit) as usage:
        run(*words)
    assert usage.value.code == 2


def test_even_a_mistake_of_ours_is_a_sentence(run, monkeypatch):
    monkeypatch.setattr("deepblock.client.Client.call", lambda *_: 1 / 0)
    status, _, err = run("status")
    assert status == 1
    assert "please report it: ZeroDivisionError" in err and "Traceback" not in err


def test_keys_are_made_once_and_shown(run, tmp_path):
    path = tmp_path / "new" / "purse.json"
    status, out, _ = run("keys", "new", path)
    assert status == 0
    assert path.stat().st_mode & 0o777 == 0o600
    address = out.splitlines()[0]
    assert address in run("keys", "show", path)[1]
    assert json.loads(run("keys", "show", path, "--json")[1])["address"] == address
    status, _, err = run("keys", "new", path)
    assert status == 1 and "exists already" in err
    assert json.loads(path.read_text())["secret"] not in out


# --- training ----------------------------------------------------------------------------------------------


def test_replay_of_an_honest_block_is_equal(parts, run):
    train(parts)
    second = train(parts)  # starts from the first one's model
    status, out, _ = run("replay", 2, "--threads", 1)
    assert status == 0, out
    for state in second.seal.states:
        assert f"{state}  equal; the node's file is intact" in out
    assert "all 3 segments, average and score are equal" in out


def test_replay_says_which_stored_state_was_changed(parts, run):
    block = train(parts)
    flip_bit(parts.folder / "blobs", block.seal.states[1])
    status, out, _ = run("replay", 1)
    assert status == 1
    assert "the node's stored state differs in segment 2" in out
    assert out.count("the node's file is intact") == 2


def test_replay_says_which_state_is_no_longer_kept(parts, run):
    block = train(parts)
    parts.blobs.remove(block.seal.states[0])
    status, out, _ = run("replay", 1, "--json")
    assert status == 0
    assert [segment["stored"] for segment in json.loads(out)["segments"]] == ["missing", "intact", "intact"]


def test_replay_finds_a_false_seal(parts, run):
    honest = train(parts)
    header = parts.next_header(Body())
    parts.commit(Block(header, honest.seal, honest.result), Body())  # its states belong to another session
    status, out, _ = run("replay", 2, "--json")
    found = json.loads(out)
    assert status == 1 and found["equal"] is False
    assert not any(segment["equal"] for segment in found["segments"])
    assert found["average"] != found["sealed_average"]
    text = run("replay", 2)[1]
    assert "first in segment 1" in text and "DIFFERENT: replayed" in text


def test_a_pulled_model_opens_and_is_what_the_chain_names(parts, run, tmp_path):
    block = train(parts)
    path = tmp_path / "model.safetensors"
    status, out, _ = run("model", "pull", "--task", "digits", "-o", path)
    assert status == 0
    assert str(block.result.model) in out and "accuracy" in out and "load_file" in out
    assert {name: array.shape for name, array in load_file(path).items()} == {
        "1.weight": (8, 64),
        "1.bias": (8,),
        "3.weight": (10, 8),
        "3.bias": (10,),
    }
    assert not list(tmp_path.glob(".model*"))
    status, _, err = run("model", "pull", "-o", tmp_path / "no" / "folder.safetensors")
    assert status == 1 and "folder.safetensors: No such file" in err


@pytest.mark.fashion_mnist
def test_fashion_mnist_becomes_the_cids_that_testnet_names(run):
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.exists():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    status, out, _ = run("data", "import", "fashion-mnist", folder)
    assert status == 0, out
    assert "the data sets that testnet names" in out


# --- amounts, and the process ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "motes"),
    [("0", 0), ("1", DBK), ("12.5", 1_250_000_000), ("0.00000001", 1), ("210000000", 21 * 10**15)],
)
def test_amounts(text, motes):
    assert parse_dbk(text) == motes
    assert parse_dbk(format_dbk(motes).replace(",", "")) == motes


@pytest.mark.parametrize("text", ["", ".5", "1.", "-1", "1e3", "1,000", " 1", "1.123456789", "٣", "nan"])
def test_what_is_no_amount(text):
    with pytest.raises(ValueError, match="not an amount"):
        parse_dbk(text)


def test_most_commands_do_not_wait_for_torch():
    code = "import sys; from deepblock import cli; print(sorted({'torch', 'node', 'consensus'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPBLOCK_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert default_data_dir() == Path.home() / ".deepblock"
    (tmp_path / ".devnet").mkdir()
    (tmp_path / ".devnet" / "node.json").write_text("{}")
    assert default_data_dir() == Path(".devnet")
    monkeypatch.setenv("DEEPBLOCK_DATA_DIR", "/elsewhere")
    assert default_data_dir() == Path("/elsewhere")


def test_a_reader_that_leaves_is_no_error(run):
    command = f"set -o pipefail; {sys.executable} -m deepblock.cli block --json | head -c 1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def flip_bit(folder, cid):
    """Change one bit of the stored file `cid`, in its first leaf."""
    (file,) = folder.rglob(str(cid))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

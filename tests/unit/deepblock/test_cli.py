"""The command `deepblock` against a node's real parts; the sessions that it replays were really trained."""

import json
import os
import shlex
import signal
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from deepblock import __version__, cli
from deepblock.amounts import format_dbk, parse_dbk
from deepblock.blockstore import Blockstore
from deepblock.client import Client
from deepblock.commands.context import DEFAULT_DIR, Context
from deepblock.commands.wallet import sign
from deepblock.data import FashionMnist
from deepblock.keys import Wallet
from deepblock.primitives import DBK
from deepblock.training.session import run_session
from deepblock.training.state import Work
from deepblock.transactions import Transfer
from deepblock.types import Block, Body, Result, Seal
from deepblock.unixfs import file_cid
from node import config
from tests.rpc_parts import HELDOUT, PARAMS, TRAIN, Parts, named, serving

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
        facts = {"pid": os.getpid(), "rpc": url, "network": str(parts.chain.network)}
        (parts.folder / "node.json").write_text(json.dumps(facts))

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
    assert "block 4" in out and "held-out loss 0.2500" in out
    assert any(line.startswith("balance") and " 50 DBK" in line for line in out.splitlines())
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
    assert run("send", BOB, "0.00000001", "--fee", "0.001", "--json")[0] == 0  # the nonce counts what waits
    parts.grow(parts.mempool.pending())
    assert run("balance", BOB)[1] == "1.50000001 DBK\n"


def test_sending_waits_for_the_block(parts, run, monkeypatch):
    for _ in range(3):
        parts.grow()
    monkeypatch.setattr("deepblock.commands.wallet.time.sleep", lambda _: parts.grow(parts.mempool.pending()))
    status, out, _ = run("send", BOB, "1", "--wait", "--json")
    assert (status, json.loads(out)["height"]) == (0, 4)
    status, out, _ = run("send", BOB, "1", "--wait")
    assert (status, out.splitlines()[-1]) == (0, "in block 5")


def test_who_stops_waiting_knows_that_the_money_is_sent(parts, run, capsys, monkeypatch):
    for _ in range(3):
        parts.grow()
    printed = []

    def ctrl_c(_):
        printed.append(capsys.readouterr().out)
        raise KeyboardInterrupt

    monkeypatch.setattr("deepblock.commands.wallet.time.sleep", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        run("send", BOB, "1", "--wait")
    out, err = capsys.readouterr()
    (transaction,) = parts.mempool.pending()
    assert printed[0].splitlines()[0] == str(transaction.id)  # before the wait
    assert out == ""
    assert err == f"already sent; follow it with `deepblock tx {transaction.id}`\n"
    status, out, _ = run("tx", transaction.id)
    assert (
        status == 0
        and "waits for a block" in out
        and "fee          0.0000" in out
        and "amount       1 DBK" in out
    )
    parts.grow([transaction])
    assert "in block 4, 1 confirmation" in run("tx", transaction.id)[1]
    assert json.loads(run("tx", transaction.id, "--json")[1])["height"] == 4


def test_a_fee_that_must_be_a_slip_is_refused_unless_it_is_meant(parts, run):
    for _ in range(3):
        parts.grow()
    status, out, err = run("send", BOB, "1", "--fee", "20")
    assert (status, out) == (1, "")
    assert "a fee of 20 DBK is more than 100 times the least, 0.0000" in err and "--high-fee" in err
    assert not parts.mempool.pending()
    assert run("send", BOB, "1", "--fee", "20", "--high-fee")[0] == 0
    (transaction,) = parts.mempool.pending()
    assert transaction.payload.fee == 20 * DBK


@pytest.mark.parametrize("rate", [1, 10, 117, 10**6])
def test_the_fee_covers_its_own_bytes(tmp_path, rate):
    parts = Parts(tmp_path, replace(PARAMS, fee_per_byte=rate))
    with serving(parts.services) as url:
        transaction = sign(Client(url), parts.wallet, Transfer, to=BOB, amount=2**33)
    assert transaction.payload.fee >= rate * transaction.size
    assert transaction.payload.fee - rate * transaction.size <= 8 * rate


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["send", BOB, "1"], "can spend 0 DBK"),
        (["send", BOB, "0"], "0 DBK would only cost a fee"),
        (["send", BOB, "1", "--fee", ""], "not an amount of DBK"),
        (["send", BOB, "1e3"], "not an amount of DBK"),
        (["tx", "bafynothing"], "not the CID of a transaction"),
        (["status", "--rpc", ""], "'' is not the URL of a node"),
        (["status", "--data-dir", "/nowhere"], "no node runs in /nowhere; start it with"),
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
    ("words", "says"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["send", BOB], "required: AMOUNT"),
        (["replay", "-1"], "'-1' is not a whole number"),
        (["replay", "1", "--threads", "0"], "--threads: 0 is not between 1 and 256"),
        (["replay", "1", "--threads", "257"], "--threads: 257 is not between 1 and 256"),
        (["status", "--data-dir", ""], "--data-dir: the name is empty"),
    ],
)
def test_wrong_usage_is_status_2(run, capsys, words, says):
    with pytest.raises(SystemExit) as usage:
        run(*words)
    assert usage.value.code == 2
    assert says in capsys.readouterr().err


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
    (hint,) = [line for line in out.splitlines() if line.startswith("open it")]
    opened = subprocess.run(shlex.split(hint.removeprefix("open it")), capture_output=True, text=True)
    assert "1.weight" in opened.stdout
    status, _, err = run("model", "pull", "-o", tmp_path / "no" / "folder.safetensors")
    assert status == 1 and "folder.safetensors: No such file" in err


def test_a_pulled_model_replaces_only_a_model(parts, run, tmp_path):
    train(parts)
    path = tmp_path / "model.safetensors"
    assert run("model", "pull", "-o", path)[0] == 0
    first = path.stat().st_ino
    assert run("model", "pull", "-o", path)[0] == 0
    assert path.stat().st_ino != first

    thesis, pipe = tmp_path / "thesis.tex", tmp_path / "pipe"
    thesis.write_text("ten years of work")
    os.mkfifo(pipe)
    for taken in (thesis, pipe):
        status, _, err = run("model", "pull", "-o", taken)
        assert status == 1 and f"{taken} exists and is not a safetensors file" in err
    assert thesis.read_text() == "ten years of work"
    assert run("model", "pull", "-o", thesis, "--force")[0] == 0
    assert load_file(thesis)

    status, _, err = run("model", "pull", "-o", tmp_path)
    assert status == 1 and f"{tmp_path} is a folder; name the file" in err


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


def test_models_are_pinned_and_unpinned(run, parts):
    file = named("a file")
    status, out, _ = run("model", "pin", file)
    assert status == 0 and f"pinned  {file}" in out and "0.0 of 1 GiB" in out
    assert str(file) in run("model", "pins")[1]
    assert "nothing" in run("model", "unpin", file)[1]
    status, out, error = run("model", "pin", parts.keeper.nowhere)
    assert (status, out) == (1, "") and "so it cannot be kept" in error
    assert run("model", "pin", "nonsense")[0] == 1


def test_the_status_says_how_ipfs_is(run, parts):
    parts.grow()
    out = run("status")[1]
    assert "embedded: up" in out and "kubo: down: nothing answers there" in out


# --- which folder, and which node --------------------------------------------------------------------------


@pytest.fixture
def here(run, tmp_path, monkeypatch):
    """A current folder where nothing says which data folder is meant, and a home of its own."""
    monkeypatch.delenv("DEEPBLOCK_DATA_DIR")
    monkeypatch.setattr("deepblock.commands.context.DEFAULT_DIR", tmp_path / "home")
    monkeypatch.setattr("deepblock.commands.files.DEFAULT_DIR", tmp_path / "home")
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_default_folder_is_the_nodes():
    assert DEFAULT_DIR == config.DEFAULT_DIR


@pytest.mark.parametrize("file", ["wallet.json", "node.json"])
def test_the_devnet_that_is_here_is_meant_running_or_not(here, monkeypatch, file):
    def folder():
        return Context.of(Namespace(data_dir=None, rpc=None, json=False)).data_dir

    (here / ".devnet").mkdir()
    assert folder().name == "home"
    (here / ".devnet" / file).write_text("{}")
    assert folder() == Path(".devnet")
    monkeypatch.setenv("DEEPBLOCK_DATA_DIR", "/elsewhere")
    assert folder() == Path("/elsewhere")


def test_a_devnet_that_does_not_run_still_shows_its_keys(parts, here, run):
    (here / ".devnet").mkdir()
    parts.wallet.save(here / ".devnet" / "wallet.json")
    assert str(parts.wallet.address) in run("keys", "show")[1]
    for words in (["balance"], ["send", BOB, "1"], ["--data-dir", ".devnet", "status"]):
        status, _, err = run(*words)
        assert status == 1
        assert ".devnet is here but not running; start it with `make devnet`" in err


def test_where_nothing_says_which_node_the_default_port_will_do(parts, here, run, monkeypatch):
    url = json.loads((parts.folder / "node.json").read_text())["rpc"]
    monkeypatch.setattr("deepblock.api.DEFAULT_URL", url)
    assert run("block")[0] == 0
    monkeypatch.setenv("DEEPBLOCK_DATA_DIR", str(here))
    status, _, err = run("block")
    assert status == 1 and f"no node runs in {here}" in err


def test_nothing_is_sent_through_another_networks_node(parts, run):
    """As after `kill -9` of the folder's node: node.json is still there, and its port is another's."""
    for _ in range(3):
        parts.grow()
    file = parts.folder / "node.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"network": str(named("another"))}))
    status, out, err = run("send", BOB, "1")
    assert (status, out) == (1, "") and "a node of network parts answers" in err
    assert not parts.mempool.pending()


@pytest.mark.parametrize("said", [False, True])
def test_imported_data_goes_where_a_testnet_node_looks(here, run, tmp_path, monkeypatch, said):
    """And never into the devnet that is here. (The data are other ones, and preset enough for this.)"""
    (here / ".devnet").mkdir()
    (here / ".devnet" / "wallet.json").write_text("{}")
    splits = FashionMnist(train=TRAIN, heldout=HELDOUT, test=b"")
    monkeypatch.setattr("deepblock.commands.files.import_fashion_mnist", lambda _: splits)
    monkeypatch.setattr("deepblock.commands.files.PRESET", "devnet.json")
    folder = tmp_path / ("my data" if said else "home")
    flags = ["--data-dir", folder] if said else []
    status, out, _ = run("data", "import", "fashion-mnist", "/published", *flags)
    assert status == 0, out
    assert str(folder / "blobs") in out
    command = f"deepblock-node --network testnet --data-dir '{folder}'" if said else "--network testnet\n"
    assert command in out
    assert Blockstore(folder / "blobs").get_file(file_cid(TRAIN), len(TRAIN)) == TRAIN
    assert [file.name for file in (here / ".devnet").iterdir()] == ["wallet.json"]


@pytest.mark.parametrize("words", [["--version"], ["version"]])
def test_the_version(words):
    command = [sys.executable, "-m", "deepblock", *words]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == f"deepblock {__version__}\n"


def test_ctrl_c_during_the_imports_leaves_no_traceback(tmp_path):
    """A module that all of them need sends the signal as it is imported. (What a shell has started with `&` ignores
    it, and so would its children.)"""
    (tmp_path / "pydantic.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, "-m", "deepblock", "status"]
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    found = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


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


# --- proofs ------------------------------------------------------------------------------------------------


def test_what_an_address_holds_is_proven_to_whoever_has_a_header(parts, run, tmp_path, monkeypatch):
    for _ in range(5):
        parts.grow()
    file = tmp_path / "proof.json"
    status, out, _ = run("prove", "-o", file)
    assert status == 0 and "verify-proof" in out
    header = parts.chain.block(parts.chain.head.id).header
    held = parts.chain.state(header.parent).account(parts.wallet.address)
    assert held.balance > 0
    monkeypatch.setenv("DEEPBLOCK_DATA_DIR", str(tmp_path / "nowhere"))  # no node is asked
    status, out, _ = run("verify-proof", file, "--header", header.cid, "--json")
    assert status == 0
    assert json.loads(out) == {
        "address": str(parts.wallet.address), "balance": str(held.balance), "nonce": held.nonce,
        "height": header.height - 1, "header": str(header.cid),
    }  # fmt: skip

    answer = tmp_path / "answer.json"  # as curl has it
    answer.write_text(json.dumps({"jsonrpc": "2.0", "id": 1, "result": json.loads(file.read_text())}))
    assert run("verify-proof", answer)[0] == 0

    status, _, error = run("verify-proof", file, "--header", parts.chain.network)
    assert status == 1 and str(header.cid) in error
    proof = json.loads(file.read_text())
    for change, why in (
        ({"value": None}, "claims that there is none"),
        ({"address": str(BOB)}, "proves nothing"),
        ({"nodes": proof["nodes"][1:]}, "proves nothing"),
        ({"nodes": ["zz"]}, "proves nothing"),
        ({"header": None}, "is no proof"),
    ):
        file.write_text(json.dumps(proof | change))
        status, _, error = run("verify-proof", file)
        assert status == 1 and why in error
    file.write_text("[" * 100_000)
    assert run("verify-proof", file)[2].count("is no proof") == 1


def test_an_address_that_holds_nothing_is_proven_too(parts, run, tmp_path):
    for _ in range(2):
        parts.grow()
    file = tmp_path / "proof.json"
    assert run("prove", BOB, "-o", file)[0] == 0
    assert json.loads(file.read_text())["value"] is None
    status, out, _ = run("verify-proof", file)
    assert status == 0 and "0 DBK" in out


def test_the_genesis_commits_to_no_state(run, tmp_path):
    status, _, error = run("prove", "-o", tmp_path / "proof.json")
    assert status == 1 and "no block above the genesis" in error

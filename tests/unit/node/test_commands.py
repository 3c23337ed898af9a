"""`deepblock-node` init and version, and starts that fail before anything is written."""

import pytest

import deepblock
from deepblock.keys import Wallet
from node.commands import execute


def test_init_makes_a_wallet_and_settings_and_leaves_them_alone_after(tmp_path, capsys):
    folder = tmp_path / "node"
    assert execute(["init", "--data-dir", str(folder), "--network", "devnet"]) == 0
    assert str(Wallet.load(folder / "wallet.json").address) in capsys.readouterr().out
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert execute(["init", "--data-dir", str(folder), "--network", "testnet"]) == 0
    assert "was left as it is" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_init_writes_the_address_that_it_is_given(tmp_path):
    address = str(Wallet(b"\1" * 32).address)
    assert execute(["init", "--data-dir", str(tmp_path), "--address", address]) == 0
    assert f'\naddress = "{address}"\n' in (tmp_path / "config.toml").read_text(encoding="utf-8")


MISTAKES = [
    ("--network", "nosuch"),
    ("--bootstrap", "localhost:9645"),
    ("--p2p-host", "nonsense..host"),
    ("--address", "dbk1xyz"),
]


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [(command, *mistake) for command in ("run", "init") for mistake in MISTAKES]
    + [("bootstrap", *mistake) for mistake in MISTAKES[:-1]],  # it earns nothing
)
def test_a_mistake_is_one_sentence_and_leaves_no_mark(tmp_path, capsys, command, flag, value):
    folder = tmp_path / "node"
    assert execute([command, "--data-dir", str(folder), flag, value]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"deepblock-node: {flag}") and value in error and error.count("\n") == 1
    assert not folder.exists()


def test_the_version(capsys):
    assert execute(["version"]) == 0
    assert capsys.readouterr().out == f"deepblock-node {deepblock.__version__}\n"


def test_the_help_says_what_each_flag_is_for(capsys):
    with pytest.raises(SystemExit):
        execute(["run", "--help"])
    assert "the address to listen on for other nodes" in " ".join(capsys.readouterr().out.split())

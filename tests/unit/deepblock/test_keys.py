"""Keys: the rule for signatures, against cases on which libraries disagree, and the wallet file."""

import errno
import json
import os
import stat
from dataclasses import fields, replace
from pathlib import Path

import pytest

from deepblock.cid import cid_of_block
from deepblock.keys import Wallet, WalletError, verify
from deepblock.primitives import Address
from deepblock.transactions import Transfer, signing_bytes

CASES = json.loads((Path(__file__).parents[2] / "vectors" / "ed25519.json").read_text())["cases"]
NETWORK = cid_of_block(b"network")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_the_verdict_on_a_signature(case):
    key, message, signature = (bytes.fromhex(case[name]) for name in ("key", "message", "signature"))
    assert verify(key, signature, message) is case["valid"]


def test_the_cases_cover_what_libraries_disagree_on():
    refused = [case for case in CASES if case["cofactored"] and not case["valid"]]
    small_keys = {case["key"] for case in refused if case["case"].startswith("key of small order")}
    assert len(small_keys) == 14  # eight points, six of them with a second encoding
    assert sum("mixed" in case["case"] and case["valid"] for case in CASES) == 2


L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19


@pytest.mark.parametrize(
    ("key", "r", "s", "verdict"),
    [
        (3, 3, 0, True),
        (3, 3, L - 1, True),
        (3, 3, L, False),
        (3, 3, 2**256 - 1, False),
        (P - 2, P - 2, 1, True),
        (P, 3, 1, False),
        (P + 3, 3, 1, False),
        (3, P + 3, 1, False),
        (3, 2**255 - 1, 1, False),
        (1, 3, 1, False),
        (3, 0, 1, False),
        (3, P - 1, 1, False),
    ],
)
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_the_rule_does_not_depend_on_what_a_library_happens_to_do(monkeypatch, key, r, s, verdict, sign):
    monkeypatch.setattr("deepblock.ed25519.holds", lambda *_: True)
    signature = (r | sign).to_bytes(32, "little") + s.to_bytes(32, "little")
    assert verify((key | sign).to_bytes(32, "little"), signature, b"message") is verdict


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (0, 64), (32, 63), (32, 65), (32, 0)])
def test_another_length_is_refused_before_a_library_reads_beyond_it(monkeypatch, key, signature):
    monkeypatch.setattr("deepblock.ed25519.holds", lambda *_: True)
    assert verify(b"\3" * 32, b"\3" * 64, b"message") is True
    assert verify(b"\3" * key, b"\3" * signature, b"message") is False


def test_the_key_of_a_secret_is_that_of_rfc_8032():
    wallet = Wallet(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert str(wallet.key) == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert wallet.address == wallet.key.address


def test_a_signature_is_over_every_field():
    wallet, other = Wallet(b"\1" * 32), Wallet(b"\2" * 32)
    payload = Transfer(NETWORK, wallet.key, 5, 100, other.address, 7)
    signed = wallet.sign(payload)
    assert signed.payload == payload
    assert verify(wallet.key, signed.signature, signing_bytes(payload))
    changes = {
        "network": cid_of_block(b"other"),
        "sender": other.key,
        "nonce": 6,
        "fee": 101,
        "to": wallet.address,
        "amount": 8,
    }
    assert changes.keys() == {field.name for field in fields(Transfer)}
    for name, value in changes.items():
        assert not verify(wallet.key, signed.signature, signing_bytes(replace(payload, **{name: value})))
    assert not verify(other.key, signed.signature, signing_bytes(payload))


def test_a_wallet_comes_back_from_its_file(tmp_path):
    path = tmp_path / "wallet.json"
    wallet = Wallet.new()
    wallet.save(path)
    assert Wallet.load(path) == wallet
    assert Wallet.load_or_new(path) == wallet
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["address"] == str(wallet.address)


def test_new_wallets_differ(tmp_path):
    assert Wallet.new() != Wallet.new()
    assert Wallet.load_or_new(tmp_path / "a") != Wallet.load_or_new(tmp_path / "b")


def test_a_wallet_is_never_overwritten(tmp_path):
    path = tmp_path / "wallet.json"
    path.write_text("my money")
    with pytest.raises(WalletError, match="exists already; move it away first"):
        Wallet.new().save(path)
    with pytest.raises(WalletError, match="not a wallet file"):
        Wallet.load_or_new(path)
    assert path.read_text() == "my money"


def test_a_disk_that_is_full_leaves_no_wallet_in_the_way(tmp_path, monkeypatch):
    path = tmp_path / "wallet.json"

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(WalletError, match=r"cannot write a wallet to .*wallet\.json: No space left"):
            Wallet.load_or_new(path)
    assert list(tmp_path.iterdir()) == []
    assert Wallet.load_or_new(path) == Wallet.load(path)


def test_a_secret_does_not_show():
    wallet = Wallet(b"\xab" * 32)
    assert "ab" * 8 not in repr(wallet)
    assert "\\xab" not in repr(wallet)


SECRET = ("ab" * 32, str(Wallet(b"\xab" * 32).address))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "5",
        "null",
        "[]",
        '"secret"',
        "{}",
        json.dumps({"secret": SECRET[0]}),
        json.dumps({"address": SECRET[1]}),
        json.dumps({"secret": SECRET[0][2:], "address": SECRET[1]}),
        json.dumps({"secret": SECRET[0] + "ab", "address": SECRET[1]}),
        json.dumps({"secret": "zz" * 32, "address": SECRET[1]}),
        json.dumps({"secret": 5, "address": SECRET[1]}),
        json.dumps({"secret": SECRET[0], "address": 5}),
        json.dumps({"secret": SECRET[0], "address": None}),
        json.dumps({"secret": SECRET[0], "address": "dbk1qqqq"}),
    ],
)
def test_another_file_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "wallet.json"
    path.write_text(content)
    with pytest.raises(WalletError, match=r"wallet\.json is not a wallet file"):
        Wallet.load(path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "wallet.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WalletError, match="not a wallet file"):
        Wallet.load(path)


def test_an_address_that_is_not_the_secrets_is_named(tmp_path):
    path = tmp_path / "wallet.json"
    other = Address(bytes(20))
    path.write_text(json.dumps({"secret": SECRET[0], "address": str(other)}))
    with pytest.raises(WalletError, match=f"names {other}, but its secret belongs to {SECRET[1]}"):
        Wallet.load(path)


def test_files_that_cannot_be_reached(tmp_path):
    with pytest.raises(WalletError, match="there is no wallet at .* makes one"):
        Wallet.load(tmp_path / "none.json")
    with pytest.raises(WalletError, match="cannot read the wallet .*: Is a directory"):
        Wallet.load(tmp_path)
    with pytest.raises(WalletError, match="cannot write a wallet to .*: No such file or directory"):
        Wallet.new().save(tmp_path / "no" / "folder" / "wallet.json")

"""Money: what a miner earned arrives elsewhere, and what must not move does not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from deepblock.cid import Cid, cid_of_block
from deepblock.client import RpcError
from deepblock.keys import Wallet
from deepblock.primitives import DBK, Address, Signature
from deepblock.transactions import Transaction, Transfer
from tests.functional.nodes import Node, running, same_head, wait_for


def sent(node: Node, transaction: Transaction) -> Any:
    return node.call("tx_send", json.loads(TypeAdapter(Transaction).dump_json(transaction)))


@pytest.mark.timeout(240)
def test_a_transfer_shows_on_every_node_and_false_ones_are_refused_with_a_reason(tmp_path: Path) -> None:
    miner, other = Node(tmp_path / "miner"), Node(tmp_path / "other")
    receiver = Wallet.new().address
    with running(miner, other):
        miner.start("--mine")
        other.start("--no-mine", "--bootstrap", miner.address)
        wallet = Wallet.load(miner.folder / "wallet.json")
        account = wait_for(
            lambda: (a := miner.call("state_getAccount", str(wallet.address))) and int(a["balance"]) > 20 * DBK and a,
            120, "a mature reward", miner,
        )  # fmt: skip

        miner.deepblock("send", str(receiver), "1.5")
        for node in (miner, other):
            wait_for(
                lambda node=node: int(node.call("state_getAccount", str(receiver))["balance"]) == 3 * DBK // 2,  # type: ignore[misc]
                60, "the transfer to show", miner, other,
            )  # fmt: skip

        good = Transfer(Cid.parse(miner.call("node_info")["network"]), wallet.key, 1, 10_000, receiver, DBK)
        assert account["nonce"] == 0
        refused = {
            "nonce": replace(good, nonce=0),
            "network": replace(good, network=cid_of_block(b"another")),
            "can spend": replace(good, amount=10**15),
            "fee": replace(good, fee=1),
        }
        for reason, payload in refused.items():
            for node in (miner, other):
                with pytest.raises(RpcError, match=reason):
                    sent(node, wallet.sign(payload))
        with pytest.raises(RpcError, match="signature"):
            sent(miner, Transaction(good, Signature(bytes(64))))
        with pytest.raises(RpcError, match="signature"):
            sent(miner, replace(wallet.sign(good), payload=replace(good, amount=2 * DBK)))

        the_second_of_two_spends_is_refused(miner, wallet, good)
        wait_for(lambda: same_head(miner, other), 30, "one head", miner, other)


def the_second_of_two_spends_is_refused(node: Node, wallet: Wallet, good: Transfer) -> None:
    id_ = sent(node, wallet.sign(good))
    with pytest.raises(RpcError, match="double spend|nonce"):
        sent(node, wallet.sign(replace(good, to=Address(bytes(20)))))
    wait_for(lambda: node.call("tx_get", id_)["height"], 60, "the first of two spends to be in a block", node)

"""Two nodes that mined apart and then meet agree on the heavier chain, and no transfer is lost."""

from pathlib import Path

import pytest

from deepblock.keys import Wallet
from deepblock.primitives import DBK
from tests.functional.nodes import Node, running, same_head, wait_for


@pytest.mark.timeout(300)
def test_the_lighter_sides_transfers_are_back_in_the_pool(tmp_path: Path) -> None:
    heavy, light = Node(tmp_path / "heavy"), Node(tmp_path / "light")
    receiver = str(Wallet.new().address)
    with running(heavy, light):
        heavy.start("--mine")
        light.start("--mine", "--bootstrap", heavy.address)
        wallet = Wallet.load(light.folder / "wallet.json")

        def spendable() -> bool:
            return all(
                int(node.call("state_getAccount", str(wallet.address))["balance"]) > 5 * DBK
                for node in (heavy, light)
            )

        wait_for(spendable, 180, "the light side to have earned", heavy, light)

        light.stop()
        (light.folder / "peers.json").unlink()
        light.start("--mine")  # nobody to bootstrap from, nobody remembered: alone
        light.deepblock("send", receiver, "2")
        fork = light.height
        wait_for(lambda: confirmed(light, receiver), 60, "the transfer on the light side", light)
        wait_for(lambda: light.height >= fork + 3, 120, "the light side to mine on", light)
        assert not confirmed(heavy, receiver)
        light.stop()
        light.start("--no-mine")
        goal = float(light.head["weight"])
        wait_for(lambda: float(heavy.head["weight"]) > goal, 180, "the heavy side to be heavier", heavy)
        abandoned = light.head["id"]
        heavy_head = heavy.head["id"]
        assert heavy_head != abandoned

        light.stop()
        light.start("--no-mine", "--bootstrap", heavy.address)
        wait_for(lambda: same_head(heavy, light), 60, "one head", heavy, light)
        assert light.call("chain_getBlock", abandoned)["confirmations"] == 0
        assert light.events("reorganisation")[-1]["returned"] == 1
        wait_for(
            lambda: confirmed(heavy, receiver) and confirmed(light, receiver),
            60,
            "the transfer",
            heavy,
            light,
        )


def confirmed(node: Node, address: str) -> bool:
    return int(node.call("state_getAccount", address)["balance"]) == 2 * DBK

"""Eight nodes, one of which mines, and 400 transfers a second for a minute, given to all of them in turn. Every block
and every transfer is to reach everybody; and how long a block takes from its miner to each other node.

The nodes replay nothing (`--audit headers`): what is measured is the network, on two cores that eight nodes share.
"""

import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from pydantic import TypeAdapter

from deepblock.cid import Cid
from deepblock.keys import Wallet
from deepblock.transactions import Transaction
from node.mempool import PER_SENDER
from tests.bench.chains import FEE, Payers
from tests.functional.nodes import Node, happened, running, same_head, wait_for

NODES = 8
RATE = 400
"""Transfers a second."""
SECONDS = 60
TICK = 0.2
"""Seconds between two deliveries to each node."""
PAYERS = 640
AMOUNT = 1 << 20
"""Motes that each of them begins with."""

Deliveries = list[list[bytes]]
"""For each tick, the request for each node."""


def main(folder: Path) -> None:
    nodes = [
        Node(folder / f"node{number}", "--audit", "headers", "--log-level", "info") for number in range(NODES)
    ]
    first, *others = nodes
    with running(*nodes):
        first.start("--mine")
        for node in others:
            node.start("--no-mine", "--bootstrap", first.address)
        wait_for(
            lambda: all(len(node.call("node_peers")) >= min(4, NODES - 1) for node in nodes),
            60,
            "peers",
            *nodes,
        )
        payers = Payers(Cid.parse(first.call("node_info")["network"]), PAYERS)
        fund(first, payers)
        wait_for(lambda: same_head(*nodes), 60, "one head", *nodes)
        deliveries = prepared(payers)
        began, since = time.perf_counter(), first.height
        refused = deliver(nodes, deliveries)
        took = time.perf_counter() - began
        sent = NODES * len(deliveries) * per_delivery()
        print(
            f"{sent} transfers sent in {took:.1f} s ({sent / took:.0f} a second), {refused} refused",
            flush=True,
        )
        confirmed = [Confirmed(node, since) for node in nodes]
        wait_for(
            lambda: all(of.count() >= sent for of in confirmed), 120, "all transfers to be in blocks", *nodes
        )
        print(f"all are in blocks on all nodes {time.perf_counter() - began - took:.1f} s later", flush=True)
        wait_for(lambda: same_head(*nodes), 60, "one head", *nodes)
        report(nodes, since)


def fund(miner: Node, payers: Payers) -> None:
    """Money for each of the payers, as soon as the miner has it."""
    wallet = Wallet.load(miner.folder / "wallet.json")

    def account() -> dict[str, Any]:
        return miner.call("state_getAccount", str(wallet.address))  # type: ignore[no-any-return]

    wait_for(lambda: int(account()["balance"]) > PAYERS * (AMOUNT + FEE), 120, "the miner's reward", miner)
    transfers = payers.funding(AMOUNT, wallet).transactions
    for start in range(0, PAYERS, PER_SENDER):
        part = transfers[start : start + PER_SENDER]
        deliver([miner], [[_request(part)]])
        wait_for(lambda: account()["nonce"] >= start + len(part), 60, "the funding", miner)  # noqa: B023


def per_delivery() -> int:
    return round(RATE * TICK / NODES)


def prepared(payers: Payers) -> Deliveries:
    """What the payers send. Each sends all by one node, so that it comes in order."""
    ticks = round(SECONDS / TICK)
    count = ticks * NODES * per_delivery()
    of_node: list[list[Transaction]] = [[] for _ in range(NODES)]
    for _ in range(-(-count // PAYERS)):
        for number, transaction in enumerate(payers.body(PAYERS).transactions):
            of_node[number % NODES].append(transaction)
    size = per_delivery()
    return [[_request(mine[tick * size : (tick + 1) * size]) for mine in of_node] for tick in range(ticks)]


def _request(transactions: Sequence[Transaction]) -> bytes:
    dump = TypeAdapter(Transaction).dump_json
    return json.dumps(
        [
            {"jsonrpc": "2.0", "id": number, "method": "tx_send", "params": [json.loads(dump(transaction))]}
            for number, transaction in enumerate(transactions)
        ]
    ).encode()


def deliver(nodes: list[Node], deliveries: Deliveries) -> int:
    """Gives them to the nodes at the rate. How many were refused."""
    urls = [node.facts["rpc"] for node in nodes]

    def send(url: str, request: bytes) -> int:
        post = urllib.request.Request(f"{url}/", request, {"Content-Type": "application/json"})
        with urllib.request.urlopen(post, timeout=60) as reply:
            return sum("error" in answer for answer in json.load(reply))

    refused, began = 0, time.perf_counter()
    with ThreadPoolExecutor(NODES) as pool:
        for tick, requests in enumerate(deliveries):
            time.sleep(max(0.0, began + tick * TICK - time.perf_counter()))
            refused += sum(pool.map(send, urls, requests))
    return refused


class Confirmed:
    """The transfers on a node's chain above the height `since`."""

    def __init__(self, node: Node, since: int) -> None:
        self._node = node
        self._since = since
        self._seen: dict[int, tuple[str, int]] = {}

    def count(self) -> int:
        for height in range(self._node.height, self._since, -1):
            block = self._node.call("chain_getBlock", height)
            if self._seen.get(height, ("", 0))[0] == block["id"]:
                break
            self._seen[height] = block["id"], len(block["body"]["transactions"])
        return sum(count for _, count in self._seen.values())


def report(nodes: list[Node], since: int) -> None:
    """How long each block took, from its miner's word to each other node's."""
    mined = {
        event["id"]: happened(event) for event in nodes[0].events("block_mined") if event["height"] > since
    }
    delays, lost = [], 0
    for node in nodes[1:]:
        came = {event["id"]: happened(event) for event in node.events("block")}
        delays += [came[id_] - when for id_, when in mined.items() if id_ in came]
        lost += sum(id_ not in came for id_ in mined)
    p95 = quantiles(delays, n=20)[-1]
    print(
        f"{len(mined)} blocks to {len(nodes) - 1} others: {lost} lost; median {median(delays):.2f} s, "
        f"p95 {p95:.2f} s, longest {max(delays):.2f} s"
    )

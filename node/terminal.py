"""What a person who watches a node wants to see: head, score, session, peers, earnings.

On a terminal one line at the bottom, kept up to date; elsewhere a log event now and then. It shows what the
RPC answers, and nothing that the RPC does not know.
"""

import asyncio
import shutil
from dataclasses import dataclass
from typing import Final

import structlog

from deepblock import api
from deepblock.amounts import format_dbk
from node.log import SCREEN, Screen
from node.rpc import methods
from node.rpc.services import Services

log = structlog.get_logger("status")

REFRESH: Final = 0.5
"""Seconds between two looks of the line."""
REPORT: Final = 10.0
"""Seconds between two log events without a terminal."""
RATE_WINDOW: Final = 32
"""Blocks over which the rate of blocks is measured."""
_BAR: Final = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the node. `rate`: blocks a minute, None before there are two."""

    head: api.Head
    miner: api.MinerInfo
    account: api.AccountInfo
    peers: int
    sync: api.Sync
    rate: float | None


def snapshot(node: Services) -> Snapshot:
    miner, info = methods.miner_status(node), methods.node_info(node)
    account = methods.state_get_account(node, miner.address)
    return Snapshot(methods.chain_head(node), miner, account, info.peers, info.sync, _rate(node))


def _rate(node: Services) -> float | None:
    """Over the last blocks, by their timestamps; the genesis is older than the network."""
    head = node.chain.head
    first = node.chain.id_at(max(1, head.height - RATE_WINDOW))
    below = node.chain.node(first) if first else None
    if below is None or head.timestamp <= below.timestamp:
        return None
    return 60 * (head.height - below.height) / (head.timestamp - below.timestamp)


def line(now: Snapshot, width: int) -> str:
    """The status in one line of at most `width` characters."""
    parts = [
        _head(now),
        _doing(now),
        "1 peer" if now.peers == 1 else f"{now.peers} peers",
        _money(now.account),
    ]
    if now.rate is not None:
        parts.append(f"{now.rate:.1f} blocks/min")
    text = " │ ".join(parts)
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _head(now: Snapshot) -> str:
    text = f"block {now.head.height:,} {now.head.task_name}"
    if held_out := now.head.held_out:
        text += f" loss {held_out.loss:.4f} {held_out.accuracy:.1%}"
    return text


def _doing(now: Snapshot) -> str:
    if now.sync.state not in ("synced", "alone"):
        return now.sync.progress
    if not now.miner.mining:
        return "not mining"
    done = now.miner.step / now.miner.steps if now.miner.steps else 0.0
    filled = int(done * _BAR)
    return f"training {'█' * filled}{'░' * (_BAR - filled)} {done:4.0%}"


def _money(account: api.AccountInfo) -> str:
    maturing = f" +{format_dbk(account.immature)} maturing" if account.immature else ""
    return f"{format_dbk(account.balance)} DBK{maturing}"


def report(now: Snapshot) -> dict[str, object]:
    """The status as fields of a log event."""
    held_out = now.head.held_out
    return {
        "height": now.head.height,
        "task": now.head.task_name,
        "loss": round(held_out.loss, 6) if held_out else None,
        "accuracy": round(held_out.accuracy, 4) if held_out else None,
        "sync": now.sync.state,
        "mining": now.miner.mining,
        "step": now.miner.step,
        "steps": now.miner.steps,
        "blocks": now.miner.blocks,
        "peers": now.peers,
        "dbk": format_dbk(now.account.balance),
        "immature_dbk": format_dbk(now.account.immature),
        "blocks_per_minute": None if now.rate is None else round(now.rate, 1),
    }


class Terminal:
    """Shows the status of `node` on `screen` while it runs."""

    def __init__(self, node: Services, screen: Screen = SCREEN) -> None:
        self._node = node
        self._screen = screen

    async def run(self) -> None:
        """Until cancelled."""
        if not self._screen.live:
            while True:
                await asyncio.sleep(REPORT)
                log.info("status", **report(snapshot(self._node)))
        try:
            while True:
                width = shutil.get_terminal_size().columns - 1  # a full line would wrap
                self._screen.show(line(snapshot(self._node), width))
                await asyncio.sleep(REFRESH)
        finally:
            self._screen.show("")

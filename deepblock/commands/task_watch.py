"""task watch: a task's learning curve while it happens."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from deepblock import api
from deepblock.amounts import format_dbk
from deepblock.cid import Cid
from deepblock.client import Client
from deepblock.commands.chain import describe, table
from deepblock.commands.context import Context
from deepblock.commands.task import find_task, phase_of

PAUSE: Final = 1.0
"""Seconds between two looks."""

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 60
"""Points of a curve."""


OVERLAP: Final = 16
"""Blocks that are looked at again, as a reorganisation may have changed them."""

Curve = dict[int, api.LineageEntry]
"""The blocks that trained a task, by height, lowest first."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is new of a task: a block that trained it, or another status. `escrow`: motes, what is reserved included."""

    status: str
    height: int | None
    blocks: int
    loss: float | None
    accuracy: float | None
    escrow: str


def task_watch(context: Context, options: Namespace) -> int:
    client = context.client
    return watch_task(context, client, find_task(client, options.task))


def watch_task(context: Context, client: Client, task: Cid) -> int:
    """Until the task closes: a table that changes, or where that cannot be, a line for each of its blocks."""
    is_live = sys.stdout.isatty() and not context.as_json
    view = _Table() if is_live else _Lines(context.as_json)
    curve: Curve = {}
    while True:
        info = client.task_get(task)
        new = follow(curve, client, info)
        view.show(info, curve, new)
        if info.closed:
            return 0
        time.sleep(PAUSE)


def follow(curve: Curve, client: Client, info: api.TaskInfo) -> list[api.LineageEntry]:
    """Brings the curve up to date; the blocks that are new in it. What a reorganisation took off the chain goes."""
    if info.model is None:
        curve.clear()
        return []
    last = min(api.MAX_LINEAGE, max(0, info.blocks - len(curve)) + OVERLAP)
    entries = {entry.height: entry for entry in reversed(client.model_get(info.id, last).lineage)}
    for gone in [height for height in curve if height >= min(entries) and height not in entries]:
        del curve[gone]
    new = [entry for height, entry in entries.items() if curve.get(height) != entry]
    curve.update(entries)
    return new


def sparkline(losses: Sequence[float], width: int = WIDTH) -> str:
    """The curve in at most `width` characters, each the last of as many losses as fall to it."""
    if not losses:
        return ""
    count = min(width, len(losses))
    points = [losses[(index + 1) * len(losses) // count - 1] for index in range(count)]
    low, high = min(points), max(points)
    top = len(BARS) - 1
    return "".join(BARS[round((point - low) / (high - low) * top) if high > low else 0] for point in points)


class _Lines:
    """One line for each event."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._status = ""

    def show(self, info: api.TaskInfo, curve: Curve, new: list[api.LineageEntry]) -> None:
        for block, entry in enumerate(new, info.blocks - len(new) + 1):
            self._say(_moment(info, entry, block))
        status = phase_of(info)
        if status != self._status:
            self._status = status
            self._say(_moment(info, None, info.blocks))

    def _say(self, moment: Moment) -> None:
        if self._as_json:
            print(json.dumps(asdict(moment)), flush=True)
        elif moment.height is None:
            print(f"{moment.status}; escrow {moment.escrow} DBK", flush=True)
        else:
            print(
                f"block {moment.height:,}  loss {moment.loss:.4f}  accuracy {moment.accuracy:.2%}  "
                f"block {moment.blocks:,} of the task  escrow {moment.escrow} DBK",
                flush=True,
            )


class _Table:
    """Rows that are written over."""

    def __init__(self) -> None:
        self._height = 0

    def show(self, info: api.TaskInfo, curve: Curve, new: list[api.LineageEntry]) -> None:
        losses = [entry.held_out.loss for entry in curve.values()]
        shown = (
            f"{max(losses):.4f} {sparkline(losses)} {losses[-1]:.4f}"
            if losses
            else "no block has trained it yet"
        )
        rows = [
            ("task", f"{info.name}, {info.id}"),
            ("status", phase_of(info)),
            ("model", describe(info.held_out)),
            ("blocks", f"{info.blocks:,}, the last at height {max(curve):,}" if curve else "none yet"),
            *_money(info),
            ("loss", shown),
        ]
        lines = table(rows).split("\n")
        up = f"\x1b[{self._height}F" if self._height else ""
        sys.stdout.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
        sys.stdout.flush()
        self._height = len(lines)


def _money(info: api.TaskInfo) -> list[tuple[str, str]]:
    contract = info.contract
    if contract is None:
        return [("escrow", "none: a base task")]
    left = contract.escrow + contract.reserved
    target = "none" if contract.target_loss is None else f"a held-out loss of {contract.target_loss:.4f}"
    signals = f"{contract.signals} of {contract.signals_needed} signals"
    return [
        ("escrow", f"{format_dbk(left)} DBK left, enough for {left // contract.pay:,} blocks"),
        ("target", target),
        ("plateau", f"{contract.stale} of {contract.plateau} blocks without a gain"),
        *([("waits for", signals)] if info.status == "pending" else []),
    ]


def _moment(info: api.TaskInfo, entry: api.LineageEntry | None, blocks: int) -> Moment:
    contract = info.contract
    return Moment(
        status=phase_of(info),
        height=entry.height if entry else None,
        blocks=blocks,
        loss=entry.held_out.loss if entry else None,
        accuracy=entry.held_out.accuracy if entry else None,
        escrow=format_dbk(contract.escrow + contract.reserved) if contract else "0",
    )

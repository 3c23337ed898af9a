"""DATA_DIR/peers.json: what a node remembers of others from one life to the next.

Given to a new node, it takes the place of a bootstrap address. It is no treasure: a damaged one is set aside, and a
node that cannot write it goes on.
"""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from deepblock.disk import write_whole

log = structlog.get_logger("peers")

SAVE_EVERY = 15.0
"""Seconds between two looks whether there is something new to write."""
MAX_FILE = 1 << 20
"""Bytes; a full book has a quarter of that."""


@dataclass(frozen=True, slots=True)
class Known:
    """An address, and when a connection to it was last made, in Unix seconds; None: never yet."""

    addr: str
    worked: int | None


@dataclass(frozen=True, slots=True)
class Ban:
    peer: str
    until: int  # Unix seconds
    reason: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """`anchors`: addresses of the last outbound peers, which are dialled first."""

    addresses: tuple[Known, ...] = ()
    anchors: tuple[str, ...] = ()
    bans: tuple[Ban, ...] = ()


_REMEMBERED = TypeAdapter(Remembered)


class PeerFile:
    """`network`: the genesis's id; a file of another network is as good as none."""

    def __init__(self, path: Path, network: str) -> None:
        self._path = path
        self._network = network
        self._written = Remembered()

    def read(self) -> Remembered:
        """What is there; nothing, and a warning, where that makes no sense. Never raises for what a file holds."""
        try:
            if self._path.stat().st_size > MAX_FILE:
                raise ValueError(f"it has more than {MAX_FILE:,} bytes")
            found = json.loads(self._path.read_bytes())
            remembered = _REMEMBERED.validate_python(found)
            network = found["network"]
        except FileNotFoundError:
            return Remembered()
        except OSError as error:
            log.warning("peers_unreadable", file=str(self._path), reason=error.strerror)
            return Remembered()
        except (ValueError, TypeError, KeyError, RecursionError):
            self._set_aside("is damaged")
            return Remembered()
        if network != self._network:
            self._set_aside("is of another network")
            return Remembered()
        self._written = remembered
        return remembered

    def write(self, remembered: Remembered) -> None:
        """Unless it says what is there already. A disk that takes nothing is a warning."""
        if remembered == self._written:
            return
        text = json.dumps({"network": self._network, **asdict(remembered)}, indent=1)
        try:
            write_whole(self._path, text.encode() + b"\n", mode=0o600)
            self._written = remembered
        except OSError as error:
            log.warning("peers_not_saved", file=str(self._path), reason=error.strerror)

    async def keep(self, remembered: Callable[[], Remembered]) -> None:
        """Writes what `remembered` says, every now and then and when cancelled."""
        try:
            while True:
                await asyncio.sleep(SAVE_EVERY)
                await asyncio.to_thread(self.write, remembered())
        finally:
            self.write(remembered())

    def _set_aside(self, why: str) -> None:
        aside = self._path.with_name(self._path.name + ".aside")
        try:
            os.replace(self._path, aside)
        except OSError as error:
            log.warning("peers_unusable", file=str(self._path), why=why, reason=error.strerror)
        else:
            log.warning("peers_set_aside", file=str(self._path), why=why, aside=str(aside))

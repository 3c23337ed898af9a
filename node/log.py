"""The log: for people on stderr, for programs as JSON lines in DATA_DIR/node.log (and on stderr if asked).

Every part of the node logs events, snake_case with fields (`structlog.get_logger("p2p").info("peer_up",
peer=…)`). What other libraries say through the standard library's logging comes along from 'warning' on.
"""

import json
import logging
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import Processor

from deepblock.spec import TaskSpec, heldout_labels
from deepblock.types import Score

LOG_FILE: Final = "node.log"
_FILE_SIZE: Final = 10 << 20
_FILES: Final = 3
_ROOT: Final = "deepblock"
"""Our loggers are 'deepblock.<part>'; those of libraries have other roots."""

PHRASES: Final[Mapping[str, str]] = {
    "p2p_listening": "peers reach this node at {addrs}",
    "node_started": "this is a node of {network} at height {height}; JSON-RPC at {rpc}",
    "block": "block {height} by {miner}: held-out loss {loss:.4f}, {correct} of {examples} right, {ms} ms",
    "block_mined": "mined block {height}: held-out loss {loss:.4f}, {correct} of {examples} right",
    "reward": "earned {dbk} DBK with block {height}",
    "reorganisation": "switched to a heavier chain: {undone} blocks undone, {applied} applied",
    "peer_up": "peer {peer} connected",
    "peer_down": "peer {peer} left",
    "reachable": "other nodes can connect to this one, at {addr}",
    "not_reachable": "nobody reaches this node: open TCP port {port} on the router, or go on: outbound connections do",
    "introduces": "introduces {peers} peers to each other",
    "bootstrap_name_failed": "{name} could not be looked up: {reason}; tried again in {retry_in:.0f} s",
    "peers_set_aside": "{file} {why}: it is now {aside}, and this node begins with an empty address book",
    "syncing": "catching up: blocks {from_height} to {to_height} from {peer}",
}
"""What people care about, said to them. Events that are not here appear with their fields."""


class Screen:
    """stderr, on which one line, the status, stays below everything that is written. Safe for several
    threads."""

    def __init__(self) -> None:
        self.live = False
        """Whether a status may be shown: a terminal, and somebody reads it."""
        self._status = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Text that ends its line."""
        with self._lock:
            sys.stderr.write(self._erase() + text + self._status)

    def flush(self) -> None:
        sys.stderr.flush()

    def show(self, status: str) -> None:
        """Replaces the status; '' removes it. It must fit in one line of the terminal."""
        with self._lock:
            sys.stderr.write(self._erase() + status)
            self._status = status
            sys.stderr.flush()

    def _erase(self) -> str:
        return "\r\x1b[2K" if self._status else ""


SCREEN: Final = Screen()
"""The one stderr of this process."""


def said(spec: TaskSpec, score: Score) -> dict[str, float | int]:
    """A score as the log shows it. `loss`: mean cross-entropy of an example, or of a token."""
    labels = heldout_labels(spec)
    return {"loss": score.loss / (10**6 * labels), "correct": score.correct, "examples": labels}


def configure(data_dir: Path, level: str = "info", as_json: bool = False) -> None:
    """Send the log of `level` ('debug', 'info', 'warning', 'error') and above to stderr and
    DATA_DIR/node.log."""
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name="node": logging.getLogger(f"{_ROOT}.{name}"),
        cache_logger_on_first_use=True,  # or each line makes a logger, also one that nobody wants to see
    )
    SCREEN.live = sys.stderr.isatty() and not as_json
    stderr = logging.StreamHandler(SCREEN)
    stderr.setFormatter(_formatter(render_json if as_json else render_line, before))
    file = RotatingFileHandler(data_dir / LOG_FILE, maxBytes=_FILE_SIZE, backupCount=_FILES, encoding="utf-8")
    file.setFormatter(_formatter(render_json, before))
    logging.basicConfig(level=logging.WARNING, handlers=[stderr, file], force=True)
    logging.getLogger(_ROOT).setLevel(level.upper())


def _formatter(renderer: Processor, before: list[Processor]) -> logging.Formatter:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(processors=[strip, renderer], foreign_pre_chain=before)


def render_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """One object a line: timestamp, level, logger, event, and the event's fields."""
    first = {name: event[name] for name in ("timestamp", "level", "logger", "event")}
    return json.dumps(first | dict(event), default=str)


def render_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """Local time, a word where something is wrong, and a phrase or the event with its fields as key=value."""
    fields = dict(event)
    time = datetime.fromisoformat(fields.pop("timestamp")).astimezone().strftime("%H:%M:%S")
    level, part, name = (
        fields.pop("level"),
        fields.pop("logger").removeprefix(f"{_ROOT}."),
        fields.pop("event"),
    )
    traceback = fields.pop("exception", None)
    text = _phrase(name, fields) or " ".join(
        [f"{part}: {name}", *(f"{key}={_value(fields[key])}" for key in fields)]
    )
    head = time if level == "info" else f"{time} {level}"
    return f"{head} {text}" + (f"\n{traceback}" if traceback else "")


def _phrase(name: str, fields: Mapping[str, Any]) -> str | None:
    try:
        return PHRASES[name].format_map({key: _short(value) for key, value in fields.items()})
    except KeyError:  # no phrase, or an event of that name with other fields
        return None


def _value(value: Any) -> str:
    """Quoted where it would not be one word; control characters never reach the terminal."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(" \"'=") and text else json.dumps(text)


def _short(value: Any) -> Any:
    """CIDs, addresses and peer ids by their ends; the file has them whole. Numbers remain numbers."""
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) and value.isprintable() else _value(value)
    return f"{text[:6]}…{text[-6:]}" if len(text) > 40 and text.isalnum() else text

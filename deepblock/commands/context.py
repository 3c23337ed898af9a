"""What every command of `deepblock` has: the node, the data folder, and how to show an answer."""

import os
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from deepblock.cid import Cid
from deepblock.client import Client
from deepblock.keys import Wallet

DATA_DIR_VARIABLE: Final = "DEEPBLOCK_DATA_DIR"
WALLET: Final = "wallet.json"


class CommandError(Exception):
    """A command cannot be carried out; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Context:
    data_dir: Path
    url: str | None
    as_json: bool

    @classmethod
    def of(cls, options: Namespace) -> "Context":
        return cls(options.data_dir or default_data_dir(), options.rpc, options.json)

    @property
    def client(self) -> Client:
        return Client.find(self.data_dir, self.url)

    def wallet(self, path: Path | None = None) -> Wallet:
        """From `path`, else the data folder's. Raises WalletError."""
        return Wallet.load(path or self.data_dir / WALLET)

    def show(self, answer: Any, text: str) -> None:
        """Prints the answer as JSON if that is wanted, else the text."""
        json = TypeAdapter(type(answer)).dump_json(answer, indent=2).decode() if self.as_json else None
        print(json or text)


def default_data_dir() -> Path:
    """$DEEPBLOCK_DATA_DIR; else .devnet here while its node runs; else ~/.deepblock."""
    if named := os.environ.get(DATA_DIR_VARIABLE):
        return Path(named)
    devnet = Path(".devnet")
    return devnet if (devnet / "node.json").exists() else Path.home() / ".deepblock"


def parse_cid(text: str, what: str) -> Cid:
    """Raises CommandError."""
    try:
        return Cid.parse(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is not the CID of {what}: {error}") from None


def progress(text: str) -> None:
    """Replaces the last progress on a terminal; '' removes it. Elsewhere nothing."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()


def write_atomically(path: Path, data: bytes) -> None:
    """The whole file or none, whatever happens meanwhile. Raises OSError that names `path`."""
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise

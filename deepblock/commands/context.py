"""What every command of `deepblock` has: the node, the data folder, and how to show an answer."""

import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from deepblock.cid import Cid
from deepblock.client import NODE_FILE, Client, NotRunning
from deepblock.keys import Wallet

DATA_DIR_VARIABLE: Final = "DEEPBLOCK_DATA_DIR"
WALLET: Final = "wallet.json"
DEFAULT_DIR: Final = Path.home() / ".deepblock"
"""Where `deepblock-node` keeps everything unless it is told otherwise."""
DEVNET: Final = Path(".devnet")
"""Where `make devnet` does, from the current folder."""


class CommandError(Exception):
    """A command cannot be carried out; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Context:
    """`named`: the data folder that the person has named, None where they leave it to us. `url`: the node."""

    named: Path | None
    url: str | None
    as_json: bool

    @classmethod
    def of(cls, options: Namespace) -> "Context":
        from_environment = os.environ.get(DATA_DIR_VARIABLE)
        named = options.data_dir or (Path(from_environment) if from_environment else None)
        return cls(named, options.rpc, options.json)

    @property
    def data_dir(self) -> Path:
        """The named one; else the devnet that lives here, whether it runs or not; else the node's default."""
        if self.named is not None:
            return self.named
        is_devnet_here = (DEVNET / WALLET).exists() or (DEVNET / NODE_FILE).exists()
        return DEVNET if is_devnet_here else DEFAULT_DIR

    @property
    def client(self) -> Client:
        """Of the node in the data folder. Where nothing says which folder, the default port will do too."""
        folder = self.data_dir
        if self.named is None and folder == DEFAULT_DIR and not (folder / NODE_FILE).exists():
            return Client.find(url=self.url)
        try:
            return Client.find(folder, self.url)
        except NotRunning as error:
            if folder != DEVNET:
                raise
            raise CommandError(
                f"{DEVNET} is here but not running{error.why}; start it with `make devnet`, "
                "or name another node with --data-dir DIR or --rpc URL"
            ) from None

    def wallet(self, path: Path | None = None) -> Wallet:
        """From `path`, else the data folder's. Raises WalletError."""
        return Wallet.load(path or self.data_dir / WALLET)

    def show(self, answer: Any, text: str) -> None:
        """Prints the answer as JSON if that is wanted, else the text."""
        json = TypeAdapter(type(answer)).dump_json(answer, indent=2).decode() if self.as_json else None
        print(json or text)


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

"""Who a node is: the key that makes its peer id, its open port, and node.json, which says so to programs beside it."""

import fcntl
import json
import os
from pathlib import Path

from deepblock.disk import write_whole
from node.errors import StartError
from node.p2p.door import Door
from node.p2p.events import ListenError

NODE_KEY = "node.key"
NODE_FILE = "node.json"
PEERS_FILE = "peers.json"


class Identity:
    """`key`: 32 bytes of Ed25519 secret, who this node is to its peers. Made on first use; holds no money. Locked for
    others while the object lives: two nodes with one key would be one peer in two places. Raises StartError."""

    def __init__(self, folder: Path) -> None:
        path = folder / NODE_KEY
        if not path.exists():
            write_whole(path, os.urandom(32), mode=0o600, over=False)
        self._file = path.open("rb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"another node runs in {folder}; give this one a --data-dir of its own"
            ) from None
        self.key = self._file.read()
        if len(self.key) != 32:
            raise StartError(f"{path} is not a node key of 32 bytes; delete it, and the node makes a new one")


async def listen(door: Door) -> None:
    """Raises StartError."""
    try:
        await door.start()
    except ListenError as error:
        raise StartError(f"{error}; choose another --p2p-port (0: any) or --p2p-host") from None


def write_node_file(folder: Path, network: str, multiaddrs: list[str], **more: str) -> None:
    """What a running node tells the programs beside it; removed when it ends. `more`: e.g. rpc, its URL."""
    facts = {"pid": os.getpid(), **more, "multiaddrs": multiaddrs, "network": network}
    write_whole(folder / NODE_FILE, json.dumps(facts, indent=2).encode() + b"\n")

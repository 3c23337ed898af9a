"""Two sides of a network that can be cut in two: Linux network namespaces, with this machine as the router between.

A cut is silent, as real ones are: packets are not forwarded, nobody is told, connections stay open on both sides.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.functional.nodes import FAST, Node


@dataclass(frozen=True)
class Side:
    """A namespace; this machine reaches it at `host`, and so does the other side, by this machine."""

    name: str
    link: str
    host: str
    router: str

    def node(self, folder: Path, *flags: str, network: str = FAST) -> Node:
        """A node that runs there."""
        hosts = ("--p2p-host", self.host, "--rpc-host", self.host)
        prefix = ("ip", "netns", "exec", self.name)
        return Node(folder, *hosts, *flags, network=network, prefix=prefix)


@dataclass(frozen=True)
class Divided:
    left: Side
    right: Side

    def cut(self) -> None:
        self._forward("0")

    def heal(self) -> None:
        self._forward("1")

    def _forward(self, value: str) -> None:
        for side in (self.left, self.right):
            Path(f"/proc/sys/net/ipv4/conf/{side.link}/forwarding").write_text(value)


def why_not() -> str | None:
    """Why there can be no namespaces here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (Debian: iproute2)"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"network namespaces: {tried.stderr.strip()}" if tried.returncode else None


@contextmanager
def divided() -> Iterator[Divided]:
    """Not cut yet."""
    made = str(os.getpid())
    sides = [
        Side(f"deepblock-{made}-{number}", f"db{made}-{number}", f"10.77.{number}.2", f"10.77.{number}.1")
        for number in (1, 2)
    ]
    try:
        for side in sides:
            _make(side)
        both = Divided(*sides)
        both.heal()
        yield both
    finally:
        for side in sides:
            subprocess.run(["ip", "netns", "delete", side.name], check=False)


def _make(side: Side) -> None:
    inside = ("ip", "-n", side.name)
    for command in (
        ("ip", "netns", "add", side.name),
        ("ip", "link", "add", side.link, "type", "veth", "peer", "name", "eth0", "netns", side.name),
        ("ip", "address", "add", f"{side.router}/24", "dev", side.link),
        ("ip", "link", "set", side.link, "up"),
        (*inside, "address", "add", f"{side.host}/24", "dev", "eth0"),
        (*inside, "link", "set", "eth0", "up"),
        (*inside, "link", "set", "lo", "up"),
        (*inside, "route", "add", "default", "via", side.router),
    ):
        subprocess.run(command, check=True, capture_output=True)

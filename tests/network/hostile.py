"""Peers that mean harm, one kind after the other, against a node that mines: from another machine (a network
namespace), and whoever is cut comes again as another. For each kind: what the victim's JSON-RPC answered meanwhile
(p99, beside a calm time before), how much its memory grew, how many got in, after how many seconds the first was
noticed and what it was given for it.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from node.p2p.events import Limits
from tests.functional.nodes import Node, happened, running, wait_for
from tests.network import asking_parts, attack_parts
from tests.network.namespace_parts import Divided, divided, why_not

CALM = Limits().rest
"""Seconds before each attack, with the same questions: what is attacked from the same machine before must be over."""


@dataclass
class Watch:
    """What the victim's JSON-RPC takes to answer, in seconds, and its memory, in MB."""

    node: Node
    took: list[float] = field(default_factory=list)

    @contextmanager
    def looking(self) -> Iterator[None]:
        command = [sys.executable, "-m", asking_parts.__name__, self.node.facts["rpc"]]
        asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert asking.stdout
        asking.stdout.readline()  # it has begun
        try:
            yield
        finally:
            asking.kill()
            lines = asking.stdout.read().split("\n")[:-1]
            self.took = [float(line) for line in lines]

    @property
    def p99(self) -> float:
        return quantiles(self.took, n=100)[-1]

    @property
    def memory(self) -> float:
        status = Path(f"/proc/{self.node.facts['pid']}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def main(folder: Path) -> None:
    if reason := why_not():
        sys.exit(reason)
    with divided() as net:
        victim, friend = (
            net.left.node(folder / name, mine, "--log-level", "info")
            for name, mine in (("victim", "--mine"), ("friend", "--no-mine"))
        )
        with running(victim, friend):
            victim.start()
            friend.start("--bootstrap", victim.address)
            wait_for(lambda: friend.height > 8, 120, "some blocks", victim, friend)
            watch = Watch(victim)
            memory = watch.memory
            for name in attack_parts.ATTACKS:
                with watch.looking():
                    time.sleep(CALM)
                calm = watch.p99
                began = time.time()
                with watch.looking():
                    attackers = attacked(net, name, victim, friend)
                assert attackers, f"{name}: no attacker got in"
                faults = [e for e in victim.events("peer_penalised") if e["peer"] == attackers[0]]
                cut = min((happened(e) - began for e in faults), default=float("nan"))
                row(
                    name,
                    f"p99 {1e3 * calm:5.1f} → {1e3 * watch.p99:5.1f} ms ({watch.p99 / calm:.1f}×) "
                    f"memory {watch.memory - memory:+.0f} MB  "
                    f"{len(attackers):3} attackers, the first scored after {cut:.1f} s: "
                    f"{faults[-1]['score'] if faults else 0:g} points, "
                    f"{faults[0]['reason'][:70] if faults else 'nothing'}",
                )
            wait_for(lambda: victim.head["id"] == friend.head["id"], 60, "one head", victim, friend)


def attacked(net: Divided, name: str, victim: Node, friend: Node) -> list[str]:
    """From another machine, as the victim sees it; the ids of those that got in."""
    folder = victim.folder.parent
    folders = (str(node_folder) for node_folder in (victim.folder, friend.folder, folder / "attacker"))
    words = [sys.executable, "-m", attack_parts.__name__, name, *folders, str(attack_parts.ATTACK)]
    with (folder / "attacker.log").open("a") as log:
        done = subprocess.run(
            ["ip", "netns", "exec", net.right.name, *words],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=True,
        )
    words_of = (line.split() for line in done.stdout.splitlines())
    return [words[1] for words in words_of if words and words[0] == attack_parts.GOT_IN]


def row(name: str, found: str) -> None:
    print(f"{name:40} {found}", flush=True)

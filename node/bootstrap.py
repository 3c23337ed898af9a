"""A node that only introduces others to each other: no chain, no mining, no JSON-RPC.

Newcomers know its address and nobody else's. It stands at the genesis, asks whoever comes for its addresses, and
passes them on. It keeps nobody: whoever has been there longest makes room when it gets full.
"""

import asyncio
import random
import signal
from contextlib import suppress
from typing import Final

import structlog

import deepblock
from consensus.params import Params
from consensus.template import genesis
from deepblock import codec
from node.config import NodeConfig, load_bootstrap, load_params
from node.identity import NODE_FILE, PEERS_FILE, Identity, listen, write_node_file
from node.introduction import ask_status, passed_on
from node.messages import MAX_ADDRESSES, STATUS, Status
from node.p2p.door import Door
from node.p2p.events import DoorError, Limits, PeerDown, PeerUp
from node.peers import Peers
from node.peers.file import PeerFile

log = structlog.get_logger("bootstrap")

CONNECTIONS: Final = 512
"""At once; each needs one of the files that a process may have open, of which there are often 1,024."""
FULL: Final = 3 * CONNECTIONS // 4
"""Peers from which on the oldest make room."""
SLOTS: Final = 2
"""Connections that it makes by itself, to other bootstrap nodes and to peers of its last life."""
POLL: Final = 10.0
"""Seconds between two questions to the same peer."""
REPORT: Final = 60.0
"""Seconds between two lines of log."""


class Introductions:
    """Who is there, and where each can be dialled, as it says itself. `head`: what to say of one's own chain."""

    def __init__(self, door: Door, peers: Peers, head: Status) -> None:
        self._door = door
        self._peers = peers
        self._head = head
        self._known: dict[str, tuple[str, ...]] = {}

    def status(self, asker: str) -> Status:
        """For a peer: other peers, another choice each time, since they are more than one message takes."""
        others = [addr for peer, addrs in self._known.items() if peer != asker for addr in addrs]
        chosen = random.sample(others, min(len(others), MAX_ADDRESSES))
        own = self._peers.own[:MAX_ADDRESSES]
        head = self._head
        return Status(head.network, head.head, head.height, head.weight, own, tuple(chosen))

    async def ask(self, peer: str) -> None:
        """Where the peer can be dialled, and whom it knows."""
        status = await ask_status(self._door, self._peers, peer, self.status(peer))
        if status is not None:
            self._known[peer] = passed_on(peer, status)

    def forget(self, peer: str) -> None:
        self._known.pop(peer, None)


class BootstrapNode:
    """`run` returns when it is told to stop. Raises StartError."""

    def __init__(self, config: NodeConfig) -> None:
        params: Params = load_params(config.network)
        network = genesis(params).id
        folder = config.data_dir
        self._config = config
        self._network = str(network)
        self._identity = Identity(folder)
        self._door = Door(
            key=self._identity.key,
            host=config.p2p_host,
            port=config.p2p_port,
            agent=f"deepblock-bootstrap/{deepblock.__version__}",
            topics={},
            handlers={STATUS: self._status},
            limits=Limits(connections=CONNECTIONS),
        )
        self._file = PeerFile(folder / PEERS_FILE, self._network)
        bootstrap = [*config.bootstrap, *load_bootstrap(config.network)]
        self._peers = Peers(self._door, bootstrap, self._file.read(), SLOTS)
        self._introductions = Introductions(self._door, self._peers, Status(network, network, 0, 0, (), ()))

    async def run(self) -> None:
        """Until SIGINT or SIGTERM."""
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        folder = self._config.data_dir
        try:
            await listen(self._door)
            write_node_file(folder, self._network, self._door.addrs)
            async with asyncio.TaskGroup() as group:
                parts = (
                    self._peers.run(), self._file.keep(self._peers.remembered), self._welcome(), self._poll(),
                    self._report(),
                )  # fmt: skip
                tasks = [group.create_task(part) for part in parts]
                await stop.wait()
                log.info("stopping")
                for task in tasks:
                    task.cancel()
        finally:
            (folder / NODE_FILE).unlink(missing_ok=True)
            await self._door.stop()

    async def _status(self, peer: str, request: bytes) -> bytes:
        return codec.encode(self._introductions.status(peer))

    async def _welcome(self) -> None:
        """A newcomer is asked at once: the next one wants to hear of it."""
        async with asyncio.TaskGroup() as group:
            async for event in self._door.events():
                match event:
                    case PeerUp(peer):
                        group.create_task(self._introductions.ask(peer))
                    case PeerDown(peer):
                        self._introductions.forget(peer)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            inbound = sorted(
                (peer for peer in self._door.peers() if not peer.outbound), key=lambda peer: peer.since
            )
            for peer in inbound[: max(0, len(inbound) - FULL)]:
                with suppress(DoorError):
                    await self._door.close(peer.id)
            async with asyncio.TaskGroup() as group:
                for peer in self._door.peers():
                    group.create_task(self._introductions.ask(peer.id))

    async def _report(self) -> None:
        while True:
            log.info("introduces", peers=len(self._door.peers()))
            await asyncio.sleep(REPORT)

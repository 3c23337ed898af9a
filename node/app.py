"""The node, put together: each part is given what it needs, and nothing else knows how they fit."""

import asyncio
import gc
import random
import signal
import time

import structlog

import deepblock
from deepblock.blockstore import Blockstore
from deepblock.keys import Wallet
from node.auditor import Auditor
from node.chain import Chain
from node.config import NodeConfig, load_bootstrap, load_params
from node.errors import StartError
from node.fetch import Fetcher
from node.frauds import Frauds
from node.gossip import Ears, validators
from node.identity import NODE_FILE, PEERS_FILE, Identity, listen, write_node_file
from node.ipfs.backend import Backend
from node.ipfs.embedded import Embedded
from node.ipfs.keeper import Keeper
from node.ipfs.kubo import Kubo
from node.ipfs.pins import Pins
from node.ipfs.policy import Policy
from node.jobs.dispatcher import Jobs
from node.jobs.errors import DeviceUnusable
from node.mempool import Mempool
from node.miner import Miner
from node.p2p.door import Door
from node.p2p.events import Blocks, DoorError
from node.peers import Peers
from node.peers.file import PeerFile
from node.peers.neighbours import Neighbours
from node.pipeline import Pipeline
from node.proofs import Proofs
from node.relay import Relay
from node.retention import Retention
from node.rpc.server import Server
from node.rpc.services import Services
from node.serve import Service
from node.shares import Shares
from node.storage.database import Database
from node.sync.catch_up import Sync
from node.tasks import TaskData
from node.terminal import Terminal

log = structlog.get_logger("node")

WALLET = "wallet.json"
BLOBS = "blobs"
KUBO_PINS = "kubo-pins.json"


class App:
    """One running node. `run` returns when it is told to stop."""

    def __init__(self, config: NodeConfig) -> None:
        """Opens and checks everything that is on disk. Raises StartError, WalletError."""
        folder = config.data_dir
        self.config = config
        params = load_params(config.network)
        wallet = Wallet.load_or_new(folder / WALLET)
        self.address = config.address or wallet.address
        self.database = Database(folder / "chain")
        try:
            self.chain = Chain(self.database, params)
        except BaseException:
            self.database.close()
            raise
        network = self.chain.network
        self.blobs = Blockstore(folder / BLOBS)
        self.mempool = Mempool(params, network)
        self.service = Service(self.chain, self.blobs, self.mempool)
        self.identity = Identity(folder)
        self.door = self._new_door()
        self.peer_file = PeerFile(folder / PEERS_FILE, str(network))
        bootstrap = [*config.bootstrap, *load_bootstrap(config.network)]
        self.peers = Peers(self.door, bootstrap, self.peer_file.read())
        self.jobs = Jobs(folder / BLOBS, threads=config.threads, device=config.device)
        backends = self._backends()
        self.fetcher = Fetcher(self.door, self.peers, self.blobs, backends)
        self.data = TaskData(self.chain, self.blobs, self.fetcher, config.task_data << 30)
        draw = random.SystemRandom().randrange
        self.auditor = Auditor(self.chain, self.jobs, self.fetcher, self.blobs, self.data, draw, config.audit)
        self.pipeline = Pipeline(
            self.chain, self.mempool, self.fetcher, self.auditor, self._publish, time.time
        )
        self.relay = Relay(
            params, network, self.mempool, self.pipeline, self.fetcher, self.door, self.peers, self._publish
        )
        self.pipeline.on_transaction.append(self.relay.tell)
        self.shares = Shares(self.chain, self.auditor, self.blobs, self._publish, time.time)
        self.proofs = Proofs(self.chain, self.auditor, self.mempool, self.pipeline, wallet)
        self.frauds = Frauds(self.chain, self.auditor, self.pipeline, self.proofs)
        pins = Pins(self.database)
        policy = Policy(self.chain, self.shares, pins)
        self.keeper = Keeper(policy, pins, self.blobs, self.fetcher, backends, config.storage_quota << 30)
        self.sync = Sync(
            self.chain, self.pipeline, self.fetcher, self.door, self.peers, self.service,
            alone=self.peers.knows_nobody,
        )  # fmt: skip
        self.miner = Miner(
            self.chain, self.mempool, self.pipeline, self.shares, self.proofs, self.jobs, self.blobs,
            self.fetcher, self.data, self.address, time.time,
        )  # fmt: skip
        self.ears = Ears(self.door, self.pipeline, self.shares, self.frauds, self.peers, self.sync)
        self.services = Services(
            self.chain, self.mempool, self.pipeline, self.miner, self.peers, self.door, self.sync,
            self.blobs, self.shares, self.frauds, config.audit, self.keeper,
        )  # fmt: skip
        self.server = Server(self.services, config.rpc_host, config.rpc_port, config.rpc_hosts)
        self.pipeline.on_head += [
            self.shares.follow, self.miner.new_head,
            Retention(self.chain, self.blobs, pins, self.address).follow, policy.follow,
        ]  # fmt: skip

    def _new_door(self) -> Door:
        config, chain = self.config, self.chain
        return Door(
            key=self.identity.key,
            host=config.p2p_host,
            port=config.p2p_port,
            agent=f"deepblock/{deepblock.__version__}",
            topics=validators(
                chain.params, chain.network, chain.specs.get, lambda block: chain.node(block) is not None
            ),
            handlers=self.service.handlers,
            blocks=Blocks(self.service.has, self.service.read),
        )

    def _backends(self) -> tuple[Backend, ...]:
        """The ways into IPFS, in the order in which they are asked."""
        config, pins = self.config, self.config.data_dir / KUBO_PINS
        return Embedded(self.door, config.ipfs_peers), Kubo(config.ipfs_api, self.blobs, pins)

    async def run(self) -> None:
        """Until SIGINT or SIGTERM. A bug in any part stops the whole node, loudly."""
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        node_file = self.config.data_dir / NODE_FILE
        try:
            await self._start()
            async with asyncio.TaskGroup() as group:
                parts = [
                    self.ears.run(), self.peers.run(), self.sync.run(), self.data.run(), self.keeper.run(),
                    self.relay.run(self.sync.ready), self.peer_file.keep(self.peers.remembered),
                    Terminal(self.services).run(),
                ]  # fmt: skip
                if self.config.mdns:
                    parts.append(Neighbours(self.chain.network, self.door.addrs, self.peers.learn).run())
                if self.config.audit != "headers":
                    parts.append(self.frauds.run(self.sync.ready, self.config.mine))
                if self.config.mine:
                    parts.append(self.miner.run(self.sync.ready))
                tasks = [group.create_task(part) for part in parts]
                await stop.wait()
                log.info("stopping")
                for task in tasks:
                    task.cancel()
        finally:
            node_file.unlink(missing_ok=True)
            await self.server.stop()
            await self.jobs.stop()
            await self.door.stop()
            self.database.close()

    async def _start(self) -> None:
        self.data.unpack_embedded()
        if self.config.device != "cpu":
            try:
                await self.jobs.check_device()
            except DeviceUnusable as error:
                raise StartError(str(error)) from None
        await self.jobs.start()
        await listen(self.door)
        url = await self.server.start()
        self.service.own = self.peers.own
        gc.freeze()  # what is loaded by now stays: looking through it stopped everything for a tenth of a second
        write_node_file(self.config.data_dir, str(self.chain.network), self.door.addrs, rpc=url)
        log.info("node_started", network=self.chain.params.name, height=self.chain.head.height, rpc=url)

    async def _publish(self, topic: str, data: bytes) -> None:
        try:
            await self.door.publish(topic, data)
        except DoorError as error:
            log.warning("publish_failed", topic=topic, reason=str(error))  # peers ask for it by themselves

"""py-libp2p 0.8.1 with its sharp edges covered; each class says which."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
import trio
from libp2p.abc import IMuxedConn
from libp2p.host.basic_host import BasicHost
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import Service
from libp2p.tools.anyio_service.trio_manager import TrioManager
from multiaddr import Multiaddr

from node.addresses import group_of, machine_of
from node.p2p.negotiation import Listener, Proposer

log = structlog.get_logger("p2p")

CONNECTIONS_PER_PEER = 2
"""Two nodes that dial each other at the same moment get two; an older one makes way for a third."""

Accuse = Callable[[ID, str], None]
"""(peer, reason): report a fault and drop the peer."""


class TolerantManager(TrioManager):
    """py-libp2p ends a whole service (all connections, all gossip) when one of its tasks raises. Here only
    that task ends, and the connection that it belonged to. A daemon task that fails still ends the host,
    which the bridge starts again."""

    def run_task(
        self, async_fn: Callable[..., Awaitable[Any]], *args: Any,
        daemon: bool = False, name: str | None = None, _internal: bool = False,
    ) -> None:  # fmt: skip
        async def contained(*args: Any) -> None:
            try:
                await async_fn(*args)
            except Exception as error:
                log.warning("p2p_task_failed", task=str(async_fn), error=repr(error))
                owner = getattr(async_fn, "__self__", None)
                if isinstance(owner, SwarmConn | Yamux):
                    await owner.close()

        task = async_fn if daemon or _internal else contained
        super().run_task(task, *args, daemon=daemon, name=name or str(async_fn), _internal=_internal)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """`background_trio_service` with a TolerantManager."""
    async with trio.open_nursery() as nursery:
        manager = TolerantManager(service)
        service._manager = manager
        nursery.start_soon(manager.run)
        await manager.wait_started()
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await manager.stop()


class NoAutoConnect(AutoConnector):
    """py-libp2p redials whom it has ever heard of, bans or not; whom to dial is decided in node/peers/."""

    async def maybe_connect(self) -> None:
        return


class Network(Swarm):
    """No dials but the asked-for ones, a gate for peer ids, inbound slots that are given back, only some of them for
    one part of the address space, and none for a while for a machine that misbehaved: an identity costs nothing."""

    allowed: Callable[[ID], bool] = staticmethod(lambda peer: True)
    inbound_of_a_group = 32
    rest = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inbound: Counter[str | None] = Counter()  # group → connections, from the first byte on
        self._resting: dict[str, float] = {}  # machine → trio time from which on it may connect again

    def _init_connection_management(self) -> None:
        super()._init_connection_management()
        self.auto_connector = NoAutoConnect(self)

    async def _notify(self, method: str, *args: Any) -> None:
        """Nobody here listens to streams that open and close; libp2p starts tasks to tell them."""
        if method not in ("opened_stream", "closed_stream"):
            await super()._notify(method, *args)

    async def dial_peer(self, peer_id: ID) -> Any:
        """Called when a stream is wanted to a peer without connection; libp2p would guess an address."""
        raise SwarmException(f"not connected to {peer_id}")

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        peer = muxed_conn.peer_id
        if peer == self.self_id or not self.allowed(peer):
            await muxed_conn.close()
            raise SwarmException("connection to itself" if peer == self.self_id else f"{peer} is banned")
        for old in self.get_connections(peer)[: 1 - CONNECTIONS_PER_PEER]:
            self.manager.run_task(old.close)
        return await super().add_conn(muxed_conn, direction)

    async def cut_off(self, peer: ID) -> None:
        """Hang up on a peer that misbehaved, and let its machine rest."""
        now = trio.current_time()
        self._resting = {machine: until for machine, until in self._resting.items() if until > now}
        for conn in self.get_connections(peer):
            for addr in conn.get_transport_addresses():
                if (machine := machine_of(str(addr))) is not None:
                    self._resting[machine] = now + self.rest
        await self.close_peer(peer)

    async def _do_handle_inbound_connection(
        self, read_write_closer: ReadWriteCloser, maddr: Multiaddr, failure_event: Any
    ) -> None:
        """libp2p's own keeps slot and task until the host stops: after 250 inbound connections it takes no
        more."""
        raw = RawConnection(read_write_closer, False)
        (addr,) = raw.get_transport_addresses() or ("",)
        group, machine = group_of(str(addr)), machine_of(str(addr))
        if (refusal := self._no_place_for(group, machine)) is not None:
            log.debug("p2p_inbound_refused", addr=str(addr), reason=refusal)
            with suppress(Exception):
                await raw.close()
            return
        self._inbound[group] += 1
        try:
            muxed: Any = await self.upgrade_inbound_raw_conn(raw, maddr)
            await muxed.event_closed.wait()
        except Exception as error:
            log.debug("p2p_inbound_failed", error=repr(error))
        finally:
            self._inbound[group] -= 1
            self._inbound += Counter()  # forgets groups without connections
            with suppress(Exception):
                await raw.close()

    def _no_place_for(self, group: str | None, machine: str | None) -> str | None:
        """Why a connection from there is not even listened to."""
        if group is not None and self._inbound[group] >= self.inbound_of_a_group:
            return f"{self._inbound[group]} connections from {group}"
        if machine is not None and self._resting.get(machine, 0.0) > trio.current_time():
            return f"a peer at {machine} was cut off"
        return None


class QuietHost(BasicHost):
    """Does not ask every new peer to identify itself, in system tasks whose exceptions nobody could catch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.multiselect = Listener(self.multiselect.handlers)
        self.multiselect_client = Proposer()

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        return

"""Nodes of the same chain on this local network, by multicast DNS: who is asked for, and who answers.

As libp2p has it (specs/discovery/mdns.md; RFC 6762 and 6763): a service `_p2p-X._udp.local`, X from the chain, whose
TXT record says `dnsaddr=/ip4/…/tcp/…/p2p/ID` for each address. Py-libp2p's own writes what it hears into its peer
store, without a bound; here it is a hint for the address book, like any other. A node that listens on loopback alone
asks and answers there alone.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import structlog
from zeroconf import Error, InterfaceChoice, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from deepblock.cid import Cid
from node.addresses import Scope, ip_in, scope_of
from node.peers.names import PREFIX

log = structlog.get_logger("peers")

TELLER: Final = "mDNS"
"""Who told of such an address: the book takes so many from one teller, and not more."""
WAITING: Final = 64
"""Services that were heard of and not looked at; more are left out."""
LOOKUP_TIME: Final = 3.0
"""Seconds for what one service says."""
PAUSE: Final = 60.0
"""Seconds until the next attempt on a machine without multicast."""
LOOPBACK: Final = "127.0.0.1"


class Neighbours:
    """`network`: of the chain. `own`: the multiaddrs at which this node listens. `learn` is given what is
    found, and the teller."""

    def __init__(self, network: Cid, own: Sequence[str], learn: Callable[[str, str], None]) -> None:
        self._service = f"_p2p-{network[-5:].hex()}._udp.local."  # a label has 15 characters at most
        self._own = own
        self._learn = learn

    async def run(self) -> None:
        """Until cancelled. Without multicast a node is one that is named by its address."""
        while True:
            try:
                await self._announce_and_listen()
            except OSError as error:
                log.warning("mdns_failed", reason=str(error), retry_in=PAUSE)
                await asyncio.sleep(PAUSE)

    async def _announce_and_listen(self) -> None:
        scope, addrs = nearest(self._own)
        names: asyncio.Queue[str] = asyncio.Queue(WAITING)

        def notice(
            zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
        ) -> None:
            if state_change is not ServiceStateChange.Removed:
                with suppress(asyncio.QueueFull):
                    names.put_nowait(name)

        async with (
            AsyncZeroconf([LOOPBACK] if scope is Scope.MACHINE else InterfaceChoice.All) as multicast,
            AsyncServiceBrowser(multicast.zeroconf, self._service, handlers=[notice]),
        ):
            await multicast.async_register_service(self._card(addrs))
            log.info("mdns_started", service=self._service, addrs=" ".join(addrs))
            while True:
                for addr in await self._said(multicast.zeroconf, await names.get()):
                    if (ip := ip_in(addr)) is not None and scope_of(ip) is scope:
                        self._learn(addr, TELLER)

    def _card(self, addrs: list[str]) -> ServiceInfo:
        """Under a name of the moment, as libp2p wants it: it says nothing of the machine."""
        name = secrets.token_hex(16)
        text = b"".join(
            bytes([len(line)]) + line for addr in addrs if len(line := (PREFIX + addr).encode()) < 256
        )
        ips = [str(ip_in(addr)) for addr in addrs]
        return ServiceInfo(
            self._service,
            f"{name}.{self._service}",
            0,
            properties=text,
            server=f"{name}.local.",
            parsed_addresses=ips,
        )

    async def _said(self, zeroconf: Zeroconf, name: str) -> list[str]:
        try:
            info = AsyncServiceInfo(self._service, name)
            info.load_from_cache(zeroconf)  # most say all at once
            if not info.text:
                await info.async_request(zeroconf, LOOKUP_TIME * 1_000)
        except Error as error:
            log.debug("mdns_nonsense", name=name[:80], reason=str(error))
            return []
        return list(addresses_in(info.text or b""))


def nearest(addrs: Iterable[str]) -> tuple[Scope, list[str]]:
    """Those to tell neighbours of: of the local network, or of this machine if there are no others."""
    found: dict[Scope, list[str]] = {Scope.SITE: [], Scope.MACHINE: []}
    for addr in addrs:
        if (ip := ip_in(addr)) is not None and scope_of(ip) in found:
            found[scope_of(ip)].append(addr)
    return next(((scope, some) for scope, some in found.items() if some), (Scope.MACHINE, []))


def addresses_in(text: bytes) -> Iterator[str]:
    """Of a TXT record, whose strings stand after a byte of their length each (RFC 1035, 3.3.14)."""
    while text:
        line, text = text[1 : 1 + text[0]], text[1 + text[0] :]
        if line.startswith(PREFIX.encode()):
            yield line.removeprefix(PREFIX.encode()).decode(errors="replace")

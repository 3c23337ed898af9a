"""Bootstrap addresses that a name stands for: /dnsaddr/NAME, as libp2p has it.

TXT records of `_dnsaddr.NAME` say `dnsaddr=/ip4/…/tcp/…/p2p/ID`, or `dnsaddr=/dnsaddr/OTHER`. So the owner of a name
moves its bootstrap nodes, and no node has to be told. DNS is often slow or broken: everything here is bounded, and
what fails is tried again.
"""

import asyncio
from collections.abc import Awaitable, Callable

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import structlog

from node.addresses import dnsaddr_in, peer_in
from node.peers.book import AddressBook

log = structlog.get_logger("peers")

PREFIX = "dnsaddr="
LOOKUP_TIME = 5.0
"""Seconds for one question."""
LOOKUPS = 8
"""Names that one name may lead to, itself among them."""
FOUND = 64
"""Addresses of one name; more are left out."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds until a name that failed is asked for again: doubled after each failure."""
REFRESH = 3_600.0
"""Seconds until a name that was found is asked for again."""

Lookup = Callable[[str], Awaitable[list[str]]]
"""A domain → the texts of its TXT records. Raises NameFailed."""


class NameFailed(Exception):
    """A name could not be looked up, or stands for nothing; the text says why."""


async def texts_of(domain: str) -> list[str]:
    """By this machine's resolver."""
    try:
        answer = await dns.asyncresolver.resolve(domain, dns.rdatatype.TXT, lifetime=LOOKUP_TIME)
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise NameFailed(str(error) or type(error).__name__) from None
    return [b"".join(record.strings).decode(errors="replace") for record in answer]


async def addresses_of(addr: str, lookup: Lookup = texts_of) -> list[str]:
    """The addresses that /dnsaddr/NAME stands for, those of the id only if it ends in /p2p/ID. Raises NameFailed."""
    _, wanted = dnsaddr_in(addr) or ("", None)
    waiting, asked, found = [addr], set[str](), list[str]()
    while waiting and len(asked) < LOOKUPS:
        name, _ = dnsaddr_in(waiting.pop(0)) or ("", None)
        if name in asked:
            continue
        asked.add(name)
        for text in await lookup(f"_dnsaddr.{name}"):
            target = text.removeprefix(PREFIX).strip()
            if not text.startswith(PREFIX):
                continue
            if dnsaddr_in(target):
                waiting.append(target)
            elif (peer := peer_in(target)) and wanted in (None, peer):
                found.append(target)
    if not found:
        raise NameFailed(f"no TXT record of _dnsaddr.{name} names an address of a peer")
    return list(dict.fromkeys(found))[:FOUND]


class Names:
    """Looks up /dnsaddr entries, and again: what they stand for now is in the book as if the operator had named it."""

    def __init__(self, addrs: list[str], book: AddressBook, lookup: Lookup = texts_of) -> None:
        self._addrs = addrs
        self._book = book
        self._lookup = lookup

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for addr in self._addrs:
                tasks.create_task(self._follow(addr))

    async def _follow(self, addr: str) -> None:
        pause, before = FIRST_PAUSE, list[str]()
        while True:
            try:
                addresses = await addresses_of(addr, self._lookup)
            except NameFailed as error:
                log.warning("bootstrap_name_failed", name=addr, reason=str(error), retry_in=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            log.info("bootstrap_name_found", name=addr, addresses=len(addresses))
            for address in before:
                self._book.release(address)
            for address in addresses:
                self._book.fix(address)
            pause, before = FIRST_PAUSE, addresses
            await asyncio.sleep(REFRESH)

"""/dnsaddr names: what TXT records say, through a real DNS server on loopback, and names that fail."""

import asyncio
import socket
import threading
from contextlib import contextmanager

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
import uvloop

from node.peers import names as rooms
from node.peers.book import AddressBook
from node.peers.names import FOUND, LOOKUPS, NameFailed, Names, addresses_of, texts_of
from tests.unit.node.p2p_parts import until
from tests.unit.node.peers_parts import IDS, addr_of, some_id

ZONE = {
    "_dnsaddr.boot.example": [f"dnsaddr={addr_of(IDS[1])}", "v=spf1 -all", "dnsaddr=/dnsaddr/more.example"],
    "_dnsaddr.more.example": [f"dnsaddr={addr_of(IDS[2])}", f"dnsaddr={addr_of(IDS[1])}"],
    "_dnsaddr.empty.example": ["nothing of ours"],
    "_dnsaddr.circle.example": ["dnsaddr=/dnsaddr/circle.example", f"dnsaddr={addr_of(IDS[3])}"],
}


def lookup_in(zone):
    async def lookup(domain):
        if domain not in zone:
            raise NameFailed(f"{domain} does not exist")
        return zone[domain]

    return lookup


def found(addr, zone=ZONE):
    return asyncio.run(addresses_of(addr, lookup_in(zone)))


def test_a_name_stands_for_addresses_and_for_other_names():
    assert found("/dnsaddr/boot.example") == [addr_of(IDS[1]), addr_of(IDS[2])]
    assert found("/dnsaddr/circle.example") == [addr_of(IDS[3])]


def test_an_id_after_the_name_chooses_among_them():
    assert found(f"/dnsaddr/boot.example/p2p/{IDS[2]}") == [addr_of(IDS[2])]
    with pytest.raises(NameFailed, match="no TXT record"):
        found(f"/dnsaddr/boot.example/p2p/{IDS[9]}")


@pytest.mark.parametrize("name", ["empty.example", "nosuch.example"])
def test_a_name_that_stands_for_nothing_says_so(name):
    with pytest.raises(NameFailed, match=name):
        found(f"/dnsaddr/{name}")


def test_what_a_name_leads_to_is_bounded():
    crowd = {"_dnsaddr.a": [f"dnsaddr={addr_of(some_id(number))}" for number in range(2 * FOUND)]}
    assert len(found("/dnsaddr/a", crowd)) == FOUND
    chain = {f"_dnsaddr.{number}": [f"dnsaddr=/dnsaddr/{number + 1}"] for number in range(100)}
    chain[f"_dnsaddr.{LOOKUPS}"].append(f"dnsaddr={addr_of(IDS[1])}")
    with pytest.raises(NameFailed):
        found("/dnsaddr/0", chain)
    assert found("/dnsaddr/1", chain) == [addr_of(IDS[1])]


def test_a_name_is_asked_for_again_when_it_failed_and_when_it_may_have_changed(monkeypatch):
    monkeypatch.setattr(rooms, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(rooms, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(rooms, "REFRESH", 0.05)
    zone, book = {}, AddressBook()

    def fixed():
        return [entry.addr for entry in book if entry.fixed]

    async def scene():
        names = Names(["/dnsaddr/boot.example"], book, lookup_in(zone))
        running = asyncio.create_task(names.run())
        await asyncio.sleep(0.1)
        assert not fixed()
        zone.update(ZONE)
        await until(lambda: fixed() == [addr_of(IDS[1]), addr_of(IDS[2])])
        zone["_dnsaddr.boot.example"] = [f"dnsaddr={addr_of(IDS[4])}"]
        await until(lambda: fixed() == [addr_of(IDS[4])])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())


@contextmanager
def dns_server(answers):
    """Says what `answers` has, by domain; to 'silent' domains nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve():
            while True:
                data, asker = server.recvfrom(4_096)
                if not data:
                    return
                query = dns.message.from_wire(data)
                domain = query.question[0].name.to_text(omit_final_dot=True)
                if domain.startswith("silent"):
                    continue
                response = dns.message.make_response(query)
                if domain in answers:
                    texts = [
                        " ".join(f'"{part}"' for part in (text[:20], text[20:])) for text in answers[domain]
                    ]
                    response.answer.append(
                        dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", *texts)
                    )
                else:
                    response.set_rcode(dns.rcode.NXDOMAIN)
                server.sendto(response.to_wire(), asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", server.getsockname())
            thread.join()


def test_real_questions_to_a_server_of_names(monkeypatch):
    monkeypatch.setattr(rooms, "LOOKUP_TIME", 0.5)
    with dns_server(ZONE) as port:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], port
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        assert uvloop.run(addresses_of("/dnsaddr/boot.example")) == [addr_of(IDS[1]), addr_of(IDS[2])]
        for name in ("nosuch.example", "silent.example", "a..b", "x" * 80):
            with pytest.raises(NameFailed):
                uvloop.run(texts_of(name))

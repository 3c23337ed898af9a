"""Multiaddrs of peers, as far as we read them ourselves. Without libp2p, so that settings are checked at once."""

import re
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_ID = r"/p2p/(?P<id>[1-9A-HJ-NP-Za-km-z]{40,64})"
ADDRESS = re.compile(rf"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[^/]{{1,255}})/tcp/\d{{1,5}}{_ID}")
DNSADDR = re.compile(rf"/dnsaddr/(?P<name>[^/\s]{{1,240}})(?:{_ID})?")
SOCKET = re.compile(r"/ip[46]/(?P<ip>[^/]+)/tcp/")
API_ADDRESS = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[^/]{1,255}/tcp/\d{1,5}(/https?)?|/unix/.+")
"""Of an HTTP API."""

BOOTSTRAP_FORM = "/ip4/…/tcp/…/p2p/ID or /dnsaddr/NAME"
"""How a bootstrap address looks, for people."""

IpAddress = IPv4Address | IPv6Address


class Scope(IntEnum):
    """From how far an IP address can be dialled. Compared by order."""

    MACHINE = 0
    SITE = 1
    WORLD = 2


def peer_in(addr: str) -> str | None:
    """The id at the end of /ip4/…/tcp/…/p2p/ID (or ip6, dns4, dns6, dns); None if `addr` is no such thing."""
    match = ADDRESS.fullmatch(addr)
    return match["id"] if match else None


def dnsaddr_in(addr: str) -> tuple[str, str | None] | None:
    """The name in /dnsaddr/NAME, and the id in /dnsaddr/NAME/p2p/ID; None if `addr` is no such thing."""
    match = DNSADDR.fullmatch(addr)
    return (match["name"], match["id"]) if match else None


def is_bootstrap(addr: str) -> bool:
    return peer_in(addr) is not None or dnsaddr_in(addr) is not None


def ip_in(addr: str) -> IpAddress | None:
    """The IP address of one machine at the start of a multiaddr, an IPv4 one in IPv6's clothes as itself. None where
    there is a name, or nothing that could be dialled."""
    match = SOCKET.match(addr)
    try:
        ip = ip_address(match["ip"]) if match else None
    except ValueError:
        return None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return None if ip is None or ip.is_multicast or ip.is_unspecified else ip


def scope_of(ip: IpAddress) -> Scope:
    if ip.is_loopback:
        return Scope.MACHINE
    return Scope.WORLD if ip.is_global else Scope.SITE


def machine_of(addr: str) -> str | None:
    """The IPv4 address or IPv6 /64 in a multiaddr: about what one machine has, however many identities it makes.

    None for names and for loopback: whoever is there is on the operator's own machine.
    """
    ip = ip_in(addr)
    if ip is None or scope_of(ip) is Scope.MACHINE:
        return None
    return str(ip_network((ip, 32 if ip.version == 4 else 64), strict=False))


def group_of(addr: str) -> str | None:
    """The /16 (IPv4) or /32 (IPv6) that a multiaddr's IP address is in: about what one owner or one provider has.

    None for names, for loopback and for private addresses: nobody can rent many of those to surround a node, and
    whoever is there, on the operator's own machines, may all have the same prefix.
    """
    ip = ip_in(addr)
    if ip is None or scope_of(ip) is not Scope.WORLD:
        return None
    return str(ip_network((ip, 16 if ip.version == 4 else 32), strict=False))

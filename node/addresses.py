"""Multiaddrs of peers, as far as we read them ourselves. Without libp2p, so that settings are checked at once."""

import re

ADDRESS = re.compile(
    r"/(ip4|ip6|dns|dns4|dns6)/[^/]{1,255}/tcp/\d{1,5}/p2p/(?P<id>[1-9A-HJ-NP-Za-km-z]{40,64})"
)
API_ADDRESS = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[^/]{1,255}/tcp/\d{1,5}(/https?)?|/unix/.+")
"""Of an HTTP API."""


def peer_in(addr: str) -> str | None:
    """The id at the end of /ip4/…/tcp/…/p2p/ID (or ip6, dns4, dns6, dns); None if `addr` is no such thing."""
    match = ADDRESS.fullmatch(addr)
    return match["id"] if match else None

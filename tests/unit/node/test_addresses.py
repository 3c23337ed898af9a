"""Which texts name a peer and where it listens."""

import pytest

from node.addresses import peer_in

ID = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


@pytest.mark.parametrize("place", ["/ip4/10.0.0.1", "/ip6/::1", "/dns4/seed-1.example"])
def test_addresses_name_their_peer(place):
    assert peer_in(f"{place}/tcp/4001/p2p/{ID}") == ID
    assert peer_in(f"{place}/tcp/4001/p2p/ID") is None


@pytest.mark.parametrize("addr", ["", "localhost:4001", "/ip4/1.2.3.4/tcp/1", f"/ip4/1.2.3.4/udp/1/p2p/{ID}"])
def test_other_texts_name_nobody(addr):
    assert peer_in(addr) is None

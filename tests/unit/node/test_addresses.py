"""Which texts name a peer and where it listens, and from how far that can be dialled."""

import pytest

from node.addresses import Scope, dnsaddr_in, group_of, ip_in, is_bootstrap, machine_of, peer_in, scope_of

ID = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


@pytest.mark.parametrize("place", ["/ip4/10.0.0.1", "/ip6/::1", "/dns4/seed-1.example"])
def test_addresses_name_their_peer(place):
    assert peer_in(f"{place}/tcp/4001/p2p/{ID}") == ID
    assert peer_in(f"{place}/tcp/4001/p2p/ID") is None


@pytest.mark.parametrize("addr", ["", "localhost:4001", "/ip4/1.2.3.4/tcp/1", f"/ip4/1.2.3.4/udp/1/p2p/{ID}"])
def test_other_texts_name_nobody(addr):
    assert peer_in(addr) is None


def test_names_may_stand_for_addresses():
    assert dnsaddr_in("/dnsaddr/boot.example") == ("boot.example", None)
    assert dnsaddr_in(f"/dnsaddr/boot.example/p2p/{ID}") == ("boot.example", ID)
    assert is_bootstrap("/dnsaddr/boot.example") and is_bootstrap(f"/ip4/1.2.3.4/tcp/1/p2p/{ID}")


@pytest.mark.parametrize(
    "addr", ["/dnsaddr/", "/dnsaddr/a/b", "/dnsaddr/a b", "dnsaddr/a", "/dnsaddr/a/p2p/x"]
)
def test_other_texts_are_no_names(addr):
    assert dnsaddr_in(addr) is None and not is_bootstrap(addr)


@pytest.mark.parametrize(
    ("ip", "scope", "machine", "group"),
    [
        ("127.0.0.1", Scope.MACHINE, None, None),
        ("::1", Scope.MACHINE, None, None),
        ("10.1.2.3", Scope.SITE, "10.1.2.3/32", None),
        ("192.168.1.2", Scope.SITE, "192.168.1.2/32", None),
        ("100.64.1.2", Scope.SITE, "100.64.1.2/32", None),  # behind a provider's own NAT
        ("169.254.1.2", Scope.SITE, "169.254.1.2/32", None),
        ("fd00::1", Scope.SITE, "fd00::/64", None),
        ("8.8.4.4", Scope.WORLD, "8.8.4.4/32", "8.8.0.0/16"),
        ("2a00:1450:4001::1", Scope.WORLD, "2a00:1450:4001::/64", "2a00:1450::/32"),
        ("::ffff:8.8.4.4", Scope.WORLD, "8.8.4.4/32", "8.8.0.0/16"),
        ("::ffff:10.1.2.3", Scope.SITE, "10.1.2.3/32", None),
    ],
)
def test_scopes_machines_and_groups(ip, scope, machine, group):
    addr = f"/ip{6 if ':' in ip else 4}/{ip}/tcp/1"
    found = ip_in(addr)
    assert found is not None and scope_of(found) is scope
    assert machine_of(addr) == machine_of(f"{addr}/p2p/{ID}") == machine
    assert group_of(addr) == group_of(f"{addr}/p2p/{ID}") == group


@pytest.mark.parametrize("addr", ["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1", "/ip4/224.0.0.1/tcp/1", "/ip4/x/tcp/1",
                                  "/ip4/1.2.3.4/udp/1", "/dns4/a.example/tcp/1", ""])  # fmt: skip
def test_where_no_machine_can_be_dialled_there_is_no_ip_address(addr):
    assert ip_in(addr) is None and group_of(addr) is None

"""Settings: what an operator writes, and the sentences for what is wrong with it."""

import tomllib

import pytest

from deepblock.keys import Wallet
from node.config import NodeConfig, example_config, load_bootstrap, load_config, load_params
from node.errors import StartError

ADDRESS = Wallet(b"\1" * 32).address
PEER = "/ip4/10.0.0.1/tcp/9645/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


def said(tmp_path, text="", **flags):
    """Why these settings are refused."""
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    with pytest.raises(StartError) as caught:
        load_config({"data_dir": tmp_path, **flags})
    return str(caught.value)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    (tmp_path / "config.toml").write_text('rpc_port = 1\np2p_port = 2\nnetwork = "devnet"\n')
    config = load_config({"data_dir": tmp_path, "p2p_port": 3})
    assert (config.rpc_port, config.p2p_port, config.network) == (1, 3, "devnet")
    assert config.threads == 1 and config.data_dir == tmp_path


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("dbk1xyz", "'dbk1xyz': not the letters of an address"),
        ("nonsense", "'nonsense': an address begins with dbk1"),
    ],
)
def test_a_wrong_address_is_said_in_its_own_words_where_it_was_given(tmp_path, address, says):
    assert said(tmp_path, address=address) == f"--address: {says}"
    assert said(tmp_path, f'address = "{address}"') == f"{tmp_path / 'config.toml'}: address: {says}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'bootstrap = "{PEER}"', "bootstrap: must be a list of strings"),
        ("bootstrap = [5]", "bootstrap: must be a string"),
        ("address = 5", "address: must be a string"),
        ("colour = 1", "colour: there is no such setting"),
        ('data_dir = "/elsewhere"', "data_dir: a folder is not named by a file inside it; use --data-dir"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_name(tmp_path, text, says):
    assert said(tmp_path, text) == f"{tmp_path / 'config.toml'}: {says}"


def test_a_file_that_is_no_toml_is_named(tmp_path):
    assert said(tmp_path, "= 5").startswith(f"{tmp_path / 'config.toml'} is not TOML: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1"])
def test_a_node_listens_on_an_ip_address(host):
    assert NodeConfig(p2p_host=host).p2p_host == host


@pytest.mark.parametrize(
    "host", ["nonsense..host", "localhost", "", "[::1]", "fe80::1%eth0", "1.2.3.4/tcp/5"]
)
def test_another_name_to_listen_on_is_refused(tmp_path, host):
    assert said(tmp_path, p2p_host=host) == f"--p2p-host: {host!r} is not an IPv4 or IPv6 address"


def test_bootstrap_addresses_name_their_peer(tmp_path):
    assert load_config({"data_dir": tmp_path, "bootstrap": [PEER]}).bootstrap == (PEER,)
    named = ("/dnsaddr/boot.example",)
    assert load_config({"data_dir": tmp_path, "bootstrap": named}).bootstrap == named
    says = said(tmp_path, bootstrap=[PEER, "localhost:9645"])
    assert says == "--bootstrap: 'localhost:9645' is not of the form /ip4/…/tcp/…/p2p/ID or /dnsaddr/NAME"


def test_a_preset_may_bring_a_list_of_nodes_to_begin_with(tmp_path):
    assert load_bootstrap("devnet") == ()
    assert all(addr.startswith("/") for addr in load_bootstrap("testnet"))
    preset, beside = str(tmp_path / "mine.json"), tmp_path / "mine.bootstrap"
    assert load_bootstrap(preset) == ()
    beside.write_text(f"# ours\n\n{PEER}   # the first\n/dnsaddr/boot.example\n")
    assert load_bootstrap(preset) == (PEER, "/dnsaddr/boot.example")
    beside.write_text(f"{PEER}\nlocalhost:9645\n")
    with pytest.raises(StartError, match="mine.bootstrap, line 2: 'localhost:9645' is not of the form"):
        load_bootstrap(preset)


def test_a_network_is_shipped_or_a_file(tmp_path):
    assert load_params("devnet").name == "devnet"
    with pytest.raises(StartError, match="--network nosuch: neither a file nor one of .*testnet"):
        load_params("nosuch")
    (tmp_path / "preset.json").write_text("{}")
    with pytest.raises(StartError, match="preset.json is not a network preset"):
        load_params(str(tmp_path / "preset.json"))


@pytest.mark.parametrize("address", [None, ADDRESS], ids=str)
def test_the_example_file_gives_the_same_settings(tmp_path, address):
    config = NodeConfig(
        data_dir=tmp_path, bootstrap=(PEER,), rpc_hosts=("knoten.münchen.example",), address=address
    )
    (tmp_path / "config.toml").write_text(example_config(config), encoding="utf-8")
    assert load_config({"data_dir": tmp_path}) == config


def test_the_example_address_is_readable_and_needs_only_a_real_one(tmp_path):
    text = example_config(NodeConfig(data_dir=tmp_path))
    assert '# address = "dbk1…"' in text
    edited = text.replace('# address = "dbk1…"', f'address = "{ADDRESS}"')
    assert tomllib.loads(edited)["address"] == str(ADDRESS)


def test_ipfs_is_named_by_multiaddrs(tmp_path):
    found = load_config({"data_dir": tmp_path, "ipfs_peers": [PEER], "ipfs_api": "/ip4/127.0.0.1/tcp/5001"})
    assert (found.ipfs_peers, found.ipfs_api) == ((PEER,), "/ip4/127.0.0.1/tcp/5001")
    assert load_config({"data_dir": tmp_path}).ipfs_api == ""
    assert said(tmp_path, ipfs_peers=["localhost:4001"]).startswith(
        "--ipfs-peers: 'localhost:4001' is not of"
    )
    says = said(tmp_path, ipfs_api="http://localhost:5001")
    assert says == "--ipfs-api: 'http://localhost:5001' is not of the form /ip4/127.0.0.1/tcp/5001"

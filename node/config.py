"""What an operator decides. Everything that a network decides is `consensus.params`, loaded here from `configs/`.

Values come from DATA_DIR/config.toml, if it is there, and from flags, which win.
"""

import ipaddress
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from consensus.params import Params, check_params
from deepblock.primitives import Address
from node.addresses import API_ADDRESS, BOOTSTRAP_FORM, is_bootstrap
from node.errors import StartError

CONFIG_FILE = "config.toml"
DEFAULT_DIR = Path.home() / ".deepblock"

_SENTENCES: Final = {
    "extra_forbidden": "there is no such setting",
    "string_type": "must be a string",
    "tuple_type": "must be a list of strings",
}
"""What is wrong, where pydantic's word for it is Python's; by the type of its error."""


AuditPolicy = Literal["sample", "all", "headers"]
"""How much of other miners' training a node replays."""


class NodeConfig(BaseModel):
    """The settings of one node. Their names are those of the flags, with '-' for '_'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str = Field("testnet", description="devnet, testnet, or the path of a preset file")
    data_dir: Path = Field(DEFAULT_DIR, description="where chain, models and keys are kept")
    p2p_host: str = Field("0.0.0.0", description="the address to listen on for other nodes")
    p2p_port: int = Field(9645, ge=0, le=65535, description="0: any")
    rpc_host: str = Field("127.0.0.1", description="the address of the JSON-RPC server; keep it private")
    rpc_port: int = Field(8645, ge=0, le=65535, description="0: any")
    rpc_hosts: tuple[str, ...] = Field((), description="other names under which the JSON-RPC may be called")
    bootstrap: tuple[str, ...] = Field((), description="multiaddrs of nodes to begin with, or /dnsaddr/NAME")
    mdns: bool = Field(
        False, description="find nodes of the same chain on this local network, and be found by them"
    )
    mine: bool = Field(True, description="train and earn; without it the node only checks and serves")
    address: Address | None = Field(None, description="where rewards go; by default DATA_DIR/wallet.json")
    task_data: int = Field(
        8, ge=0, le=1 << 20, description="GiB of sponsored tasks' data to fetch before they are scheduled"
    )
    audit: AuditPolicy = Field(
        "sample",
        description="replays: sample (some segments at once, others when idle), all, or headers (none)",
    )
    ipfs_peers: tuple[str, ...] = Field(
        (),
        description="multiaddrs of IPFS nodes to stay connected to, such as your own Kubo; files go by bitswap",
    )
    ipfs_api: str = Field(
        "",
        description="the multiaddr of a Kubo daemon's HTTP API, such as /ip4/127.0.0.1/tcp/5001; it pins what is kept",
    )
    storage_quota: int = Field(
        64,
        ge=1,
        le=1 << 20,
        description="GiB of models, states and data on this disk before what nobody needs is removed",
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads of each training process")
    device: str = Field("cpu", description="cpu, cuda, cuda:1 …")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")
    log_json: bool = Field(False, description="log lines as JSON")

    @field_validator("p2p_host")
    @classmethod
    def _is_ip(cls, host: str) -> str:
        try:
            ipaddress.ip_address(host.replace("%", " "))  # multiaddrs have no zones, like fe80::1%eth0
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv4 or IPv6 address") from None
        return host

    @field_validator("ipfs_api")
    @classmethod
    def _is_api(cls, addr: str) -> str:
        if addr and not API_ADDRESS.fullmatch(addr):
            raise ValueError(f"{addr!r} is not of the form /ip4/127.0.0.1/tcp/5001")
        return addr

    @field_validator("bootstrap", "ipfs_peers")
    @classmethod
    def _name_their_peers(cls, addrs: tuple[str, ...]) -> tuple[str, ...]:
        for addr in addrs:
            if not is_bootstrap(addr):
                raise ValueError(f"{addr!r} is not of the form {BOOTSTRAP_FORM}")
        return addrs


def load_config(flags: dict[str, Any]) -> NodeConfig:
    """File and flags together. Raises StartError that names the setting and the file."""
    folder = Path(flags.get("data_dir") or DEFAULT_DIR)
    path = folder / CONFIG_FILE
    settings: dict[str, Any] = {}
    if path.exists():
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StartError(f"{path} is not TOML: {error}") from None
    if "data_dir" in settings:
        raise StartError(f"{path}: data_dir: a folder is not named by a file inside it; use --data-dir")
    try:
        return NodeConfig(**{**settings, "data_dir": folder, **flags})
    except ValidationError as error:
        name, sentence = _said(error)
        source = f"--{name.replace('_', '-')}" if name in flags else f"{path}: {name}"
        raise StartError(f"{source}: {sentence}") from None


def _said(error: ValidationError) -> tuple[str, str]:
    """The first setting that is wrong, and why."""
    problems = error.errors()
    name = problems[0]["loc"][0]
    # Of an address there are two: that it is no object of ours, and then what is wrong with its text.
    last = [problem for problem in problems if problem["loc"][0] == name][-1]
    return str(name), _SENTENCES.get(last["type"], last["msg"].removeprefix("Value error, "))


def load_params(network: str) -> Params:
    """The preset `network`: one that is shipped, or a file. Raises StartError."""
    shipped = resources.files("configs") / f"{network}.json"
    path = Path(network)
    if shipped.is_file():
        text, name = shipped.read_text(), f"configs/{network}.json"
    elif path.is_file():
        text, name = path.read_text(), network
    else:
        known = sorted(
            item.name[:-5] for item in resources.files("configs").iterdir() if item.name.endswith(".json")
        )
        raise StartError(f"--network {network}: neither a file nor one of {', '.join(known)}")
    try:
        params = TypeAdapter(Params).validate_python(json.loads(text))
        check_params(params)
    except ValueError as error:
        raise StartError(f"{name} is not a network preset: {error}") from None
    return params


def load_bootstrap(network: str) -> tuple[str, ...]:
    """The bootstrap addresses that come with a preset, from the file beside it: one a line, # begins a comment. None
    where there is no such file. Raises StartError."""
    shipped = resources.files("configs") / f"{network}.bootstrap"
    path = Path(network).with_suffix(".bootstrap")
    if shipped.is_file():
        text, name = shipped.read_text(encoding="utf-8"), f"configs/{network}.bootstrap"
    elif path.is_file():
        text, name = path.read_text(encoding="utf-8"), str(path)
    else:
        return ()
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if addr := line.partition("#")[0].strip():
            if not is_bootstrap(addr):
                raise StartError(f"{name}, line {number}: {addr!r} is not of the form {BOOTSTRAP_FORM}")
            found.append(addr)
    return tuple(found)


def example_config(config: NodeConfig) -> str:
    """A config.toml with every setting, its meaning, and its value now."""
    lines = ["# deepblock-node: settings. Flags win over this file. Delete a line to have its default.", ""]
    for name, value in config.model_dump(mode="json", exclude={"data_dir"}).items():
        lines.append(f"# {NodeConfig.model_fields[name].description}")
        if value is None:
            lines.append(f'# {name} = "dbk1…"')
        else:
            # Strings, numbers, booleans and lists of strings look alike in JSON and in TOML.
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
        lines.append("")
    return "\n".join(lines)

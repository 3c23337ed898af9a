"""What an operator decides. Everything that a network decides is `consensus.params`, loaded here from `configs/`.

Values come from DATA_DIR/config.toml, if it is there, and from flags, which win.
"""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from consensus.params import Params, check_params
from deepblock.types import Address
from node.errors import StartError

CONFIG_FILE = "config.toml"
DEFAULT_DIR = Path.home() / ".deepblock"


class NodeConfig(BaseModel):
    """The settings of one node. Their names are those of the flags, with '-' for '_'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str = Field("testnet", description="devnet, testnet, or the path of a preset file")
    data_dir: Path = Field(DEFAULT_DIR, description="where chain, models and keys are kept")
    p2p_host: str = Field("0.0.0.0", description="the address at which other nodes reach this one")
    p2p_port: int = Field(9645, ge=0, le=65535, description="0: any")
    rpc_host: str = Field("127.0.0.1", description="the address of the JSON-RPC server; keep it private")
    rpc_port: int = Field(8645, ge=0, le=65535, description="0: any")
    rpc_hosts: tuple[str, ...] = Field((), description="other names under which the JSON-RPC may be called")
    bootstrap: tuple[str, ...] = Field((), description="multiaddrs of nodes to begin with")
    mine: bool = Field(True, description="train and earn; without it the node only checks and serves")
    address: Address | None = Field(None, description="where rewards go; by default DATA_DIR/wallet.json")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of each training process")
    device: str = Field("cpu", description="cpu, cuda, cuda:1 …")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")
    log_json: bool = Field(False, description="log lines as JSON")


def load_config(flags: dict[str, Any]) -> NodeConfig:
    """File and flags together. Raises StartError that names the setting and the file."""
    folder = Path(flags.get("data_dir") or DEFAULT_DIR)
    path = folder / CONFIG_FILE
    settings: dict[str, Any] = {}
    if path.exists():
        try:
            settings = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StartError(f"{path} is not TOML: {error}") from None
    try:
        return NodeConfig(**{**settings, "data_dir": folder, **flags})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        source = f"--{name.replace('_', '-')}" if name in flags else str(path)
        raise StartError(f"{source}: {name}: {first['msg']}") from None


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


def example_config(config: NodeConfig) -> str:
    """A config.toml with every setting, its meaning, and its value now."""
    lines = ["# deepblock-node: settings. Flags win over this file. Delete a line to have its default.", ""]
    for name, field in NodeConfig.model_fields.items():
        if name == "data_dir":
            continue
        value = getattr(config, name)
        lines.append(f"# {field.description}")
        lines.append(f"{'# ' if value is None else ''}{name} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else "dbk1…" if value is None else value)

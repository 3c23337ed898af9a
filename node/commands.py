"""What `deepblock-node` can do: run, bootstrap, init, version."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import uvloop

import deepblock
from deepblock.keys import Wallet, WalletError
from node.config import CONFIG_FILE, NodeConfig, example_config, load_bootstrap, load_config, load_params
from node.errors import StartError
from node.log import configure

BOOTSTRAP_SETTINGS: Final = (
    "network", "data_dir", "p2p_host", "p2p_port", "bootstrap", "log_level", "log_json",
)  # fmt: skip
"""What can be said of a node that only introduces; the other settings do not concern it."""

TURN = 0.001
"""Seconds after which the libp2p thread and the daemon's loop make way for each other (Python's default: 0.005). An
answer takes several turns, and strangers decide how busy the libp2p thread is."""


def execute(words: list[str]) -> int:
    """Carries out a command line. The exit status: 0, or 1 after one plain sentence on stderr."""
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words = ["run", *words]
    options = vars(_parser().parse_args(words))
    command = options.pop("command")
    flags = {name: value for name, value in options.items() if value is not None}
    try:
        if command == "version":
            print(f"deepblock-node {deepblock.__version__}")
            return 0
        config = load_config(flags)
        load_params(config.network)  # all before anything is written: a mistake leaves no mark
        load_bootstrap(config.network)
        {"init": _init, "bootstrap": _bootstrap, "run": _run}[command](config)
    except (StartError, WalletError) as error:
        print(f"deepblock-node: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"deepblock-node: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _run(config: NodeConfig) -> None:
    from node.app import App

    config.data_dir.mkdir(parents=True, exist_ok=True)
    configure(config.data_dir, level=config.log_level, as_json=config.log_json)
    app = App(config)
    sys.setswitchinterval(TURN)
    uvloop.run(app.run())


def _bootstrap(config: NodeConfig) -> None:
    from node.bootstrap import BootstrapNode

    config.data_dir.mkdir(parents=True, exist_ok=True)
    configure(config.data_dir, level=config.log_level, as_json=config.log_json)
    node = BootstrapNode(config)
    uvloop.run(node.run())


def _init(config: NodeConfig) -> None:
    """A wallet and a settings file, neither over an existing one."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    wallet = Wallet.load_or_new(config.data_dir / "wallet.json")
    path = config.data_dir / CONFIG_FILE
    if path.exists():
        print(f"{path} exists already and was left as it is")
    else:
        path.write_text(example_config(config), encoding="utf-8")
        print(f"settings: {path}")
    print(f"wallet:   {config.data_dir / 'wallet.json'} (keep a copy of it)")
    print(f"address:  {wallet.address}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepblock-node", description="A DeepBlock node: trains, checks, serves."
    )
    parser.add_argument("--version", action="version", version=f"deepblock-node {deepblock.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser("run", help="run the node (the default)")
    bootstrap = commands.add_parser("bootstrap", help="run a node that only introduces others to each other")
    init = commands.add_parser("init", help="make the data folder: wallet and settings")
    commands.add_parser("version", help="print the version")
    for command in (run, init):
        _add_flags(command, tuple(NodeConfig.model_fields))
    _add_flags(bootstrap, BOOTSTRAP_SETTINGS)
    return parser


def _add_flags(parser: argparse.ArgumentParser, settings: tuple[str, ...]) -> None:
    """A flag for each setting; its help is the setting's description."""
    for name in settings:
        field = NodeConfig.model_fields[name]
        flag = "--" + name.replace("_", "-")
        options: dict[str, Any] = {"help": field.description}
        if isinstance(field.default, bool):
            options |= {"action": argparse.BooleanOptionalAction}
        elif isinstance(field.default, tuple):
            options |= {
                "action": "extend",
                "nargs": "+",
                "metavar": "NAME" if name == "rpc_hosts" else "MULTIADDR",
            }
        elif name == "data_dir":
            options |= {"type": Path, "metavar": "DIR"}
        elif isinstance(field.default, int):
            options |= {"type": int, "metavar": "N"}
        parser.add_argument(flag, **options)

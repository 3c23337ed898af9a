"""The command `deepblock`: asks a node, keeps keys, replays sessions."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import deepblock
from deepblock.client import ClientError
from deepblock.codec import Malformed
from deepblock.commands import chain, files, proof, replay, task, task_open, task_watch, wallet
from deepblock.commands.context import DATA_DIR_VARIABLE, CommandError, Context
from deepblock.data import DataError
from deepblock.importers.folder import EXPECTED
from deepblock.keys import WalletError
from deepblock.sponsor.template import shipped_names

COMMANDS: Final = "deepblock.commands"
"""The group of entry points that add commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 after one plain sentence on stderr, or where a comparison fails; 2 for wrong
    usage. Ctrl-C is left to `__main__`."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(Context.of(options), options)
        sys.stdout.flush()
        return status
    except (ClientError, CommandError, DataError, Malformed, WalletError) as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as bug:  # the border to a person: a sentence to report, not a traceback
        return _fail(f"this is a mistake of the program, please report it: {bug!r}")


def _fail(sentence: str) -> int:
    print(f"deepblock: {sentence}", file=sys.stderr)
    return 1


def _version(context: Context, options: argparse.Namespace) -> int:
    context.show(deepblock.__version__, f"deepblock {deepblock.__version__}")
    return 0


def _parser() -> argparse.ArgumentParser:
    everywhere = _global_flags(None, None, False)
    parser = argparse.ArgumentParser(prog="deepblock", description=__doc__, parents=[everywhere])
    parser.add_argument("--version", action="version", version=f"deepblock {deepblock.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_chain(commands)
    _add_money(commands)
    _add_tasks(commands)
    _add_training(commands)
    _add(commands, "version", _version, "the version of this program")
    _add_others(commands)
    return parser


def _add_others(commands: Any) -> None:
    """Commands of packages that stand above this one: each entry point is called with what adds a command."""
    for entry in entry_points(group=COMMANDS):
        entry.load()(partial(_add, commands))


def _add_chain(commands: Any) -> None:
    _add(commands, "status", chain.status, "what the node, its chain and its miner are doing")

    command = _add(commands, "block", chain.block, "a block, the head unless said")
    command.add_argument("block", nargs="?", metavar="HEIGHT|ID")

    command = _add(commands, "tx", chain.tx, "a transaction: what it moves, and whether it is in a block")
    command.add_argument("id", metavar="ID")

    command = _add(commands, "balance", chain.balance, "what an address holds, the wallet's unless said")
    command.add_argument("address", nargs="?", metavar="ADDRESS")

    command = _add(
        commands, "prove", proof.prove, "a file that shows what an address holds, to whoever has a header"
    )
    command.add_argument("address", nargs="?", metavar="ADDRESS", help="the wallet's unless said")
    command.add_argument("-o", "--output", type=Path, default=Path("proof.json"), metavar="FILE")
    command = _add(commands, "verify-proof", proof.verify_proof, "check such a file; asks no node")
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument(
        "--header", metavar="CID", help="the header that you trust; else the file's is shown"
    )


def _add_money(commands: Any) -> None:
    command = _add(commands, "send", wallet.send, "send money from the wallet")
    command.add_argument("to", metavar="TO", help="the receiver's address")
    command.add_argument("amount", metavar="AMOUNT", help="in DBK, for example 12.5")
    command.add_argument("--fee", metavar="DBK", help="by default the least that the node takes")
    command.add_argument(
        "--high-fee", action="store_true", help=f"even if that is over {wallet.HIGH_FEE} times the least"
    )
    _add_sending(command)

    keys = _group(commands, "keys", "make or show a wallet")
    for name, run, about in (
        ("new", wallet.keys_new, "make a wallet, DATA_DIR/wallet.json unless said"),
        ("show", wallet.keys_show, "its address and public key"),
    ):
        _add(keys, name, run, about).add_argument("path", nargs="?", type=Path, metavar="PATH")


def _add_tasks(commands: Any) -> None:
    tasks = _group(commands, "task", "what the network trains, and what you want it to")
    _add(tasks, "list", task.task_list, "every task of the chain")
    _add_open(tasks)
    for name, run, about in (
        ("show", task.task_show, "a task: its model, its data, its contract"),
        ("watch", task_watch.task_watch, "the learning curve of a task while it happens"),
        ("fund", task.task_fund, "add to the escrow of a task"),
        ("close", task.task_close, "end a task of yours; the rest of its escrow comes back"),
    ):
        command = _add(tasks, name, run, about)
        command.add_argument("task", metavar="NAME|CID")
        if name == "fund":
            command.add_argument("amount", metavar="AMOUNT", help="in DBK")
        if name in ("fund", "close"):
            _add_sending(command)


def _add_open(tasks: Any) -> None:
    command = _add(tasks, "open", task_open.task_open, "have a model trained on a data set, for money")
    command.add_argument("folder", type=_folder, metavar="DIR", help=f"with {EXPECTED}")
    pay = "for each block that trains it; at least its subsidy, which is the default"
    command.add_argument("--pay", metavar="DBK", help=pay)
    money = command.add_mutually_exclusive_group()
    blocks = f"to pay for; by default {task_open.BLOCKS}"
    money.add_argument("--blocks", type=_natural, default=task_open.BLOCKS, metavar="N", help=blocks)
    money.add_argument("--escrow", metavar="DBK", help="what may be spent in all, in place of --blocks")
    command.add_argument("--target", metavar="LOSS|ACCURACY%", help="a held-out loss at which it is done")
    names = ", ".join(shipped_names())
    command.add_argument(
        "--template", metavar="NAME|FILE", help=f"{names}, or a file; by default what fits the data"
    )
    command.add_argument(
        "--from", dest="start", metavar="MODEL|TASK", help="start from a model's or a task's weights"
    )
    command.add_argument(
        "--frozen", type=_natural, default=0, metavar="N", help="first layers to keep as they are there"
    )
    command.add_argument("--size", metavar="N|HxW", help="crop and resize pictures to this")
    command.add_argument("--tokens", type=_natural, metavar="N", help="bytes of each text; by default 64")
    command.add_argument(
        "--heldout", type=_natural, metavar="N", help="examples to hold back; by default what fits"
    )
    command.add_argument("--name", metavar="NAME", help="of the task; by default that of the folder")
    command.add_argument(
        "--seed", default="1", metavar="TEXT", help="decides the split and the first weights"
    )
    command.add_argument("--dry-run", action="store_true", help="show the offer, and do nothing")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--watch", action="store_true", help="stay, and show how it learns")
    _add_sending(command)


def _add_sending(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wallet", type=Path, metavar="FILE", help="by default DATA_DIR/wallet.json")
    command.add_argument("--wait", action="store_true", help="until it is in a block")


def _add_training(commands: Any) -> None:
    command = _add(
        commands, "replay", replay.replay, "run a block's whole session again and compare every state"
    )
    command.add_argument("height", type=_natural, metavar="HEIGHT")
    command.add_argument("--threads", type=_threads, default=1, metavar="N", help="of torch; by default 1")

    models = _group(commands, "model", "models")
    command = _add(models, "pull", files.model_pull, "save a task's current model as safetensors")
    command.add_argument("--task", metavar="NAME|CID", help="by default the task of the head")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="by default TASK.safetensors")
    command.add_argument("--force", action="store_true", help="replace FILE even if it is no model")

    for name, run, about in (
        ("pin", files.model_pin, "have the node keep a model, or any other file, until it is unpinned"),
        ("unpin", files.model_unpin, "have it kept no longer than others"),
    ):
        _add(models, name, run, about).add_argument("model", metavar="CID")
    _add(models, "pins", files.model_pins, "what the node was asked to keep, and how full its store is")

    data = _group(commands, "data", "data sets")
    sets = _group(
        data, "import", "bring a data set into DATA_DIR/blobs, where DATA_DIR is ~/.deepblock unless said"
    )
    command = _add(
        sets,
        "fashion-mnist",
        files.data_import,
        "from the folder of its four .gz files (Debian's dataset-fashion-mnist has them in /usr/share/datasets)",
    )
    command.add_argument("folder", type=Path, metavar="DIR")


def _add(commands: Any, name: str, run: Any, about: str) -> argparse.ArgumentParser:
    # The same flags after the command too, where they must not reset what stood before it.
    after = _global_flags(argparse.SUPPRESS, argparse.SUPPRESS, argparse.SUPPRESS)
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about, parents=[after]
    )
    command.set_defaults(run=run)
    return command


def _group(commands: Any, name: str, about: str) -> Any:
    return commands.add_parser(name, help=about).add_subparsers(required=True, metavar="COMMAND")


def _global_flags(rpc: Any, data_dir: Any, json: Any) -> argparse.ArgumentParser:
    """`--rpc`, `--data-dir` and `--json` with these defaults."""
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--rpc", metavar="URL", default=rpc, help="the node to ask")
    flags.add_argument(
        "--data-dir",
        type=_folder,
        metavar="DIR",
        default=data_dir,
        help=f"of the node and the wallet; by default ${DATA_DIR_VARIABLE}, .devnet if it is here, ~/.deepblock",
    )
    flags.add_argument("--json", action="store_true", default=json, help="print JSON")
    return flags


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _threads(text: str) -> int:
    if not 1 <= _natural(text) <= replay.MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {replay.MAX_THREADS}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

"""model pull, pin and unpin, and data import: files out of a node, kept by it, and into it."""

import json
import shlex
import sys
from argparse import Namespace
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from safetensors import SafetensorError, safe_open

from deepblock import api
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.commands.chain import describe, table
from deepblock.commands.context import DEFAULT_DIR, CommandError, Context, parse_cid
from deepblock.commands.task import find_task
from deepblock.data import import_fashion_mnist
from deepblock.disk import write_whole

PRESET = "testnet.json"
"""The preset whose task trains on Fashion-MNIST."""


@dataclass(frozen=True, slots=True)
class Imported:
    """`in_preset`: whether these are the data sets that testnet names."""

    train: Cid
    heldout: Cid
    in_preset: bool


def model_pull(context: Context, options: Namespace) -> int:
    client = context.client
    model = client.model_get(find_task(client, options.task) if options.task else None, last=1)
    path = options.output or Path(f"{model.task_name}.safetensors")
    if not options.force:
        _check_replaceable(path)
    write_whole(path, client.fetch_file(model.model, model.size))
    code = f"from safetensors.numpy import load_file; print(load_file({json.dumps(str(path))}))"
    rows = [
        ("file", f"{path}, {model.size:,} bytes"),
        ("model", f"{model.model} of task {model.task_name}, block {model.lineage[0].height:,}"),
        ("score", describe(model.held_out)),
        ("open it", shlex.join((sys.executable, "-c", code))),
    ]
    context.show(model, table(rows))
    return 0


def model_pin(context: Context, options: Namespace) -> int:
    _show_pins(context, context.client.model_pin(parse_cid(options.model, "a model")))
    return 0


def model_unpin(context: Context, options: Namespace) -> int:
    _show_pins(context, context.client.model_unpin(parse_cid(options.model, "a model")))
    return 0


def model_pins(context: Context, options: Namespace) -> int:
    _show_pins(context, context.client.model_pins())
    return 0


def _show_pins(context: Context, pinned: api.Pinned) -> None:
    rows = [("pinned", str(file)) for file in pinned.files] or [("pinned", "nothing")]
    rows.append(("stored", f"{pinned.stored / 2**30:,.1f} of {pinned.quota / 2**30:,.0f} GiB"))
    context.show(pinned, table(rows))


def data_import(context: Context, options: Namespace) -> int:
    folder = context.named or DEFAULT_DIR  # never the devnet that happens to be here: it trains on digits
    splits = import_fashion_mnist(options.folder)
    store = Blockstore(folder / "blobs")
    train, heldout = store.put_file(splits.train), store.put_file(splits.heldout)
    known = (train, heldout) in _preset_data()
    verdict = "the data sets that testnet names" if known else "NOT the data sets that testnet names"
    rows = [
        ("train", str(train)),
        ("held-out", str(heldout)),
        ("in", str(folder / "blobs")),
        ("these are", verdict),
    ]
    if known:
        where = "" if folder == DEFAULT_DIR else f" --data-dir {shlex.quote(str(folder))}"
        rows.append(("a node", f"deepblock-node --network testnet{where}"))
    context.show(Imported(train, heldout, known), table(rows))
    return 0 if known else 1


def _check_replaceable(path: Path) -> None:
    """Raises CommandError where something other than a model is at `path`."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name the file, such as -o {path / 'model.safetensors'}")
    if path.exists() and not _is_safetensors(path):
        raise CommandError(
            f"{path} exists and is not a safetensors file; name another one with -o, or say --force"
        )


def _is_safetensors(path: Path) -> bool:
    if not path.is_file():  # a pipe, which would block, or a device
        return False
    try:
        with safe_open(path, "numpy"):
            return True
    except (OSError, SafetensorError):
        return False


def _preset_data() -> set[tuple[Cid, Cid]]:
    """Train and held-out CIDs of testnet's tasks."""
    preset = json.loads((resources.files("configs") / PRESET).read_text())
    return {(Cid.parse(task["train"]), Cid.parse(task["heldout"])) for task in preset["base_tasks"]}

"""task open: from a folder to a paid task."""

import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import Final

from deepblock.amounts import format_dbk, parse_dbk
from deepblock.blockstore import Blockstore
from deepblock.client import Client, FileMissing
from deepblock.codec import Malformed, cid_of
from deepblock.commands.context import CommandError, Context, progress
from deepblock.commands.task import find_task, submit
from deepblock.commands.task_offer import describe_offer
from deepblock.commands.task_watch import watch_task
from deepblock.importers import Wanted, read
from deepblock.keys import Wallet
from deepblock.spec import SpecError
from deepblock.sponsor.offer import Offer, calibrated_loss, offer
from deepblock.sponsor.plan import Choices, make
from deepblock.sponsor.template import DEFAULT, Template
from deepblock.sponsor.transfer import Trained
from deepblock.transactions import OpenTask
from deepblock.unixfs import file_cid

BLOCKS: Final = 64
"""That the escrow pays for, unless said."""


def task_open(context: Context, options: Namespace) -> int:
    client = context.client
    if not (options.yes or options.dry_run) and (context.as_json or not sys.stdin.isatty()):
        raise CommandError(
            "nobody can be asked here whether the offer is good; say --yes, or --dry-run to only see it"
        )
    found, files = _prepared(client, options)
    if options.dry_run:
        context.show(found, describe_offer(found))
        return 0
    wallet = context.wallet(options.wallet)
    _check_balance(client, wallet, found)
    if not context.as_json:
        print(describe_offer(found))
    if not options.yes and not _agreed(found):
        print("nothing was opened, and nothing was paid")
        return 1
    _publish(context, client, files)
    fields = {"spec": found.spec, "pay": found.pay, "escrow": found.escrow, "target": found.target}
    submit(context, client, wallet, OpenTask, wait=options.wait or options.watch, **fields)
    task = cid_of(found.spec)
    if options.watch:
        return watch_task(context, client, task)
    if not context.as_json:
        print(f"task {task}\nfollow it with `deepblock task watch {task}`")
    return 0


def _prepared(client: Client, options: Namespace) -> tuple[Offer, tuple[bytes, ...]]:
    """The offer, and the files of the task. Raises CommandError, DataError."""
    try:
        node, pay = client.node_info(), parse_dbk(options.pay) if options.pay else None
        trained = _trained(client, options.start) if options.start else None
        if options.frozen and not trained:
            raise CommandError(
                "--frozen keeps layers that are trained already: say with --from where they come from"
            )
        progress(f"reading {options.folder} …")
        data = read(options.folder, _wanted(options, trained))
        template = _template(options.template, trained, data.kind)
        name = options.name or options.folder.resolve().stem
        progress("making the splits …")
        plan = make(
            data, template, Choices(name, options.seed, trained, options.frozen, options.heldout), node
        )
        progress("")
        quote = client.task_quote(plan.spec, pay)
        escrow = parse_dbk(options.escrow) if options.escrow else quote.pay * options.blocks
        target = _target(options.target, plan.spec.classes) if options.target else None
    except (SpecError, ValueError) as error:
        if isinstance(error, Malformed):
            raise
        raise CommandError(str(error)) from None
    finally:
        progress("")
    if escrow < quote.min_escrow:
        raise CommandError(
            f"an escrow of {format_dbk(escrow)} DBK is less than one epoch of {quote.epoch} blocks costs, "
            f"{format_dbk(quote.min_escrow)} DBK; say more with --escrow or --blocks, or pay less a block"
        )
    return offer(plan, quote, client.chain_head().height, escrow, target), plan.files


def _trained(client: Client, start: str) -> Trained:
    """The model that --from names: a file, or what a task has trained."""
    if Path(start).is_file():
        return Trained.of_file(Path(start))
    task = find_task(client, start)
    info = client.task_get(task)
    if info.model is None:
        raise CommandError(f"--from {start}: that task has no model yet; no block has trained it")
    return Trained.of_task(info.spec, client.fetch_file(info.model))


def _wanted(options: Namespace, trained: Trained | None) -> Wanted:
    """The inputs that people ask for, or else that the weights to start from know."""
    if trained and trained.spec and options.size is None:
        match trained.spec.input_shape:
            case (channels, height, width):
                return Wanted((height, width), channels)
            case (tokens,):
                return Wanted(tokens=options.tokens or tokens)
    return Wanted(_size(options.size) if options.size else None, None, options.tokens)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,4})(?:[x×]([1-9][0-9]{0,4}))?", text)
    if not found:
        raise CommandError(f"--size {text}: is not a size such as 28 or 28x32 (height x width)")
    return int(found[1]), int(found[2] or found[1])


def _template(name: str | None, trained: Trained | None, kind: str) -> Template:
    if name is None and trained and trained.spec:
        return Template.of(trained.spec)
    return Template.load(name or DEFAULT[kind])  # type: ignore[index]


def _target(text: str, classes: int) -> float:
    """Nats an example: as given, or for an accuracy."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        raise CommandError(
            f"--target {text}: is neither a loss such as 0.35 nor an accuracy such as 90%"
        ) from None
    if not text.endswith("%"):
        if not 0 < number < 20:
            raise CommandError(
                f"--target {text}: a loss is between 0 and 20 nats an example; an accuracy ends in %"
            )
        return number
    if not 100 / classes < number < 100:
        raise CommandError(f"--target {text}: guessing gives {100 / classes:.4g}%, and 100% is out of reach")
    return calibrated_loss(number / 100, classes)


def _check_balance(client: Client, wallet: Wallet, found: Offer) -> None:
    account = client.state_get_account(wallet.address)
    if account.balance < found.escrow:
        raise CommandError(
            f"the escrow is {format_dbk(found.escrow)} DBK, and {wallet.address} can spend "
            f"{format_dbk(account.balance)} ({format_dbk(account.immature)} are maturing); the least, for "
            f"--blocks {found.quote.epoch}, is {format_dbk(found.quote.min_escrow)} DBK"
        )


def _agreed(found: Offer) -> bool:
    print(f"open this task for {format_dbk(found.escrow)} DBK? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _publish(context: Context, client: Client, files: tuple[bytes, ...]) -> None:
    """Puts the files where the node on this machine keeps its own, so that it serves them to the others."""
    store = Blockstore(context.data_dir / "blobs")
    for index, file in enumerate(files, 1):
        progress(f"storing file {index} of {len(files)} …")
        store.put_file(file)
    progress("")
    smallest = min(files, key=len)
    try:
        client.fetch_file(file_cid(smallest))
    except FileMissing:
        raise CommandError(
            f"the data are in {context.data_dir / 'blobs'}, and the node at {client.url} does not serve them: it keeps "
            "its files elsewhere. Name the folder of a node on this machine with --data-dir DIR"
        ) from None

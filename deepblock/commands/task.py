"""task list, show, fund and close: what there is to train, and the money for it."""

from argparse import Namespace
from typing import Any

from deepblock import api
from deepblock.amounts import format_dbk, parse_dbk
from deepblock.cid import Cid
from deepblock.client import Client
from deepblock.commands.chain import describe, table
from deepblock.commands.context import CommandError, Context
from deepblock.commands.wallet import sign
from deepblock.commands.wallet import wait as wait_for_block
from deepblock.keys import Wallet
from deepblock.spec import TaskSpec
from deepblock.transactions import CloseTask, FundTask


def task_list(context: Context, options: Namespace) -> int:
    tasks = context.client.task_list()
    heads = ("name", "status", "blocks", "loss", "accuracy", "DBK a block", "task")
    lines = [heads, *(_line(task) for task in tasks)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    context.show(tasks, text)
    return 0


def task_show(context: Context, options: Namespace) -> int:
    client = context.client
    task = client.task_get(find_task(client, options.task))
    spec = task.spec
    data = f"{spec.n_train:,} examples of {list(spec.input_shape)}, {spec.n_heldout:,} held out"
    session = f"{spec.segments} segments of {spec.steps} steps of {spec.batch} examples"
    rows = [
        ("task", f"{task.name}, {task.id}"),
        ("status", f"{phase_of(task)}, {task.blocks:,} blocks"),
        ("model", str(task.model or "none yet")),
        ("score", describe(task.held_out)),
        ("bar", f"a loss of {task.bar_loss:.4f} passes the gate"),
        ("data", f"{data}, {spec.classes} classes"),
        ("layers", f"{', '.join(layer.kind for layer in spec.layers)}; {task.parameters:,} parameters"),
        *_start(spec),
        ("session", f"{session}, {task.session_macs:,} MACs"),
        *(_terms(task.contract) if task.contract else []),
    ]
    context.show(task, table(rows))
    return 0


def task_fund(context: Context, options: Namespace) -> int:
    try:
        amount = parse_dbk(options.amount)
    except ValueError as error:
        raise CommandError(str(error)) from None
    client = context.client
    task = find_task(client, options.task)
    submit(
        context, client, context.wallet(options.wallet), FundTask, wait=options.wait, task=task, amount=amount
    )
    return 0


def task_close(context: Context, options: Namespace) -> int:
    client = context.client
    task = find_task(client, options.task)
    submit(context, client, context.wallet(options.wallet), CloseTask, wait=options.wait, task=task)
    if not context.as_json:
        print("it closes with the epoch that is under way or decided; the rest of the escrow comes back then")
    return 0


# --- what the commands about tasks have in common ---------------------------------------------------------


def find_task(client: Client, wanted: str) -> Cid:
    """A task by its name or its CID. Raises CommandError."""
    tasks = client.task_list()
    found = [task.id for task in tasks if wanted in (task.name, str(task.id))]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError(
            f"{len(found)} tasks are called {wanted!r}; say which by its CID: {', '.join(map(str, found))}"
        )
    names = ", ".join(task.name for task in tasks)
    raise CommandError(f"0 tasks are called {wanted!r}; this chain has {names} (a CID will do too)")


def submit(
    context: Context, client: Client, wallet: Wallet, payload: type, *, wait: bool, **fields: Any
) -> None:
    """Signs a payload of these fields, sends it, says so, and waits for its block if that is wanted."""
    transaction = sign(client, wallet, payload, **fields)
    sent = client.tx_send(transaction)
    context.show(
        sent,
        f"sent {transaction.payload.kind.replace('_', ' ')} {sent}, fee {format_dbk(transaction.payload.fee)} DBK",
    )
    if wait:
        height = wait_for_block(client, sent)
        if not context.as_json:
            print(f"in block {height:,}")


def phase_of(task: api.TaskInfo | api.TaskSummary) -> str:
    """Where a task stands: 'pending', 'active, trained now', 'closed: target' …"""
    if task.closed:
        return f"closed: {task.closed}"
    return task.status + (", trained now" if task.scheduled else ", next" if task.next else "")


def hours(seconds: float) -> str:
    """'about 3 hours', in the largest unit of which there are two."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds:.0f} seconds"


def _line(task: api.TaskSummary) -> tuple[str, ...]:
    score = task.held_out
    return (
        task.name,
        phase_of(task),
        f"{task.blocks:,}",
        f"{score.loss:.4f}" if score else "–",
        f"{score.accuracy:.2%}" if score else "–",
        format_dbk(task.pay) if task.pay else "–",
        str(task.id),
    )


def _start(spec: TaskSpec) -> list[tuple[str, str]]:
    if spec.start is None:
        return []
    return [
        (
            "starts from",
            f"{spec.start.weights}: {spec.start.layers} layers, {spec.start.frozen} of them frozen",
        )
    ]


def _terms(contract: api.ContractInfo) -> list[tuple[str, str]]:
    rows = [
        ("sponsor", str(contract.sponsor)),
        ("pay", f"{format_dbk(contract.pay)} DBK a block"),
        ("escrow", f"{format_dbk(contract.escrow)} DBK free, {format_dbk(contract.reserved)} for an epoch"),
        (
            "target",
            "none" if contract.target_loss is None else f"a held-out loss of {contract.target_loss:.4f}",
        ),
        ("plateau", f"{contract.stale} of {contract.plateau} blocks without a gain"),
    ]
    if contract.expires is not None:
        signals = (
            f"{contract.signals} of {contract.signals_needed} in the last {contract.signal_window} blocks"
        )
        rows.append(("signals", f"{signals}; given up at height {contract.expires:,}"))
    return rows

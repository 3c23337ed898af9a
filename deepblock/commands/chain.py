"""status, block, tx, balance: what the chain says."""

from argparse import Namespace
from dataclasses import dataclass
from datetime import UTC, datetime

from deepblock import api
from deepblock.amounts import format_dbk
from deepblock.codec import cid_of
from deepblock.commands.context import CommandError, Context, parse_cid
from deepblock.primitives import Address
from deepblock.transactions import CloseTask, FraudProof, FundTask, OpenTask, Payload, Transfer


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `deepblock status` shows. `account`: where the node's rewards go."""

    node: api.NodeInfo
    head: api.Head
    miner: api.MinerInfo
    account: api.AccountInfo


def status(context: Context, options: Namespace) -> int:
    client = context.client
    miner = client.miner_status()
    account = client.state_get_account(miner.address)
    found = Status(client.node_info(), client.chain_head(), miner, account)
    node, head = found.node, found.head
    rows = [
        (
            "network",
            f"{node.network_name}, {node.sync.progress}, {_count(node.peers, 'peer')}, {node.version}",
        ),
        ("head", f"block {head.height:,}, {head.age:,} s ago, {head.id}"),
        ("task", f"{head.task_name}, {describe(head.held_out)}"),
        ("model", str(head.model or "none yet")),
        ("miner", _miner(miner)),
        *(("ipfs", f"{way.name}: {way.state}") for way in node.ipfs if way.state != "off"),
        (
            "balance",
            f"{format_dbk(account.balance)} DBK, {format_dbk(account.immature)} maturing, {account.address}",
        ),
    ]
    context.show(found, table(rows))
    return 0


def block(context: Context, options: Namespace) -> int:
    client = context.client
    if options.block is None:
        found = client.chain_get_block(client.chain_head().id)
    elif options.block.isdecimal():
        found = client.chain_get_block(int(options.block))
    else:
        found = client.chain_get_block(parse_cid(options.block, "a block"))
    header = found.header
    shares = "" if found.body is None else f", {_count(len(found.body.shares), 'share')}"
    transactions = (
        "body not here" if found.transactions is None else _count(len(found.transactions), "transaction")
    )
    rows = [
        ("block", f"{header.height:,}, {_count(found.confirmations, 'confirmation')}"),
        ("id", str(found.id)),
        ("parent", str(header.parent)),
        ("time", datetime.fromtimestamp(header.timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("miner", str(header.miner)),
        ("difficulty", f"{header.difficulty >> 16:,} MACs"),
        ("contains", transactions + shares),
        ("task", f"{found.task_name}, {header.task}"),
        ("starts from", str(found.starts_from or "the task's initial weights")),
        *((f"state {index}", str(state)) for index, state in enumerate(found.seal.states, 1)),
        ("average", str(found.seal.average)),
        ("model", f"{found.result.model}, {describe(found.held_out)}"),
        ("which is", _which(found)),
    ]
    if found.rejected:
        rows.insert(0, ("rejected", found.rejected))
    context.show(found, table(rows))
    return 0


def _which(found: api.BlockInfo) -> str:
    """Of the candidates of rule E2, the one that became the model."""
    same = found.body.shares_of(found.header.task) if found.body else ()
    if found.result.model == found.seal.average:
        return "the session's own average"
    if found.result.model == found.starts_from:
        return "the model before: nothing new was better"
    return f"made of the session's average and those of {_count(len(same), 'share')}"


def tx(context: Context, options: Namespace) -> int:
    found = context.client.tx_get(parse_cid(options.id, "a transaction"))
    payload = found.transaction.payload
    place = (
        "waits for a block"
        if found.height is None
        else f"in block {found.height:,}, {_count(found.confirmations, 'confirmation')}"
    )
    rows = [
        ("transaction", str(found.id)),
        ("status", place),
        ("kind", payload.kind.replace("_", " ")),
        ("from", str(payload.sender.address)),
        ("fee", f"{format_dbk(payload.fee)} DBK"),
        *_particulars(payload),
    ]
    context.show(found, table(rows))
    return 0


def _particulars(payload: Payload) -> list[tuple[str, str]]:
    """What only this kind of transaction says."""
    match payload:
        case Transfer(to=to, amount=amount):
            return [("to", str(to)), ("amount", f"{format_dbk(amount)} DBK")]
        case OpenTask(spec=spec, pay=pay, escrow=escrow, target=target):
            aim = [] if target is None else [("target", f"a held-out loss sum of {target:,}")]
            return [
                ("task", f"{spec.name}, {cid_of(spec)}"),
                ("pay", f"{format_dbk(pay)} DBK a block"),
                ("escrow", f"{format_dbk(escrow)} DBK"),
                *aim,
            ]
        case FundTask(task=task, amount=amount):
            return [("task", str(task)), ("amount", f"{format_dbk(amount)} DBK")]
        case CloseTask(task=task):
            return [("task", str(task))]
        case FraudProof(share=share, height=height, step=step):
            return [("share", f"{share}, carried by block {height:,}"), ("false step", str(step))]


def balance(context: Context, options: Namespace) -> int:
    address = parse_address(options.address) if options.address else context.wallet().address
    account = context.client.state_get_account(address)
    text = f"{format_dbk(account.balance)} DBK"
    if account.immature:
        text += f" and {format_dbk(account.immature)} maturing"
    context.show(account, text)
    return 0


def parse_address(text: str) -> Address:
    """Raises CommandError."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is not an address (dbk1…): {error}") from None


def describe(held_out: api.HeldOut | None) -> str:
    if held_out is None:
        return "not trained yet"
    right = f"{held_out.correct} of {held_out.examples}"
    return f"held-out loss {held_out.loss:.4f}, accuracy {held_out.accuracy:.2%} ({right})"


def table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _miner(miner: api.MinerInfo) -> str:
    past = f"{_count(miner.sessions, 'session')} and {_count(miner.blocks, 'block')} since its start"
    if not miner.mining:
        return f"off, {past}"
    if miner.height is None:
        return f"between two sessions, {past}"
    at = f"segment {miner.segment} of {miner.segments}, step {miner.step} of {miner.steps}"
    return f"training for block {miner.height:,}: {at}; {past}"

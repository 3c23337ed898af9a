"""What must hold at the end of every run, whoever attacked."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from consensus.audit import judge, plan_all
from consensus.errors import Fraud
from consensus.fork_choice import BlockTree
from consensus.state import Payouts, Supply
from consensus.task import TaskState
from deepblock.cid import Cid
from deepblock.codec import decode
from deepblock.primitives import Address
from deepblock.types import Account
from node.lab.ledger import Entry, Ledger


def problems(ledger: Ledger, trees: Sequence[BlockTree], ended: bool) -> Iterator[str]:
    """Why the run shows a fault. `trees`: of the honest nodes."""
    if not ended:
        heads = len({tree.head.id for tree in trees})
        yield f"the honest nodes stand on {heads} heads, the first at height {trees[0].head.height}"
    head = trees[0].head
    values = ledger.entries[head.id].values
    issued, held = decode(Supply, values[b"s"]).issued, _held(values)
    if issued != held:
        yield f"{issued} motes were issued, {held} are there"
    for entry in _chain(ledger, head.id):
        if head.height - entry.block.height >= ledger.params.finality and (why := _false(ledger, entry)):
            yield f"block {entry.block.height} is final and false: {why}"


def _held(values: Mapping[bytes, bytes]) -> int:
    """Motes in balances, in payouts that wait, and in the escrow of tasks."""
    total = 0
    for key, value in values.items():
        match key[:1]:
            case b"a":
                total += decode(Account, value).balance
            case b"p":
                total += sum(payout.amount for payout in decode(Payouts, value).items)
            case b"t" if contract := decode(TaskState, value).contract:
                total += contract.escrow + contract.reserved
    return total


def _false(ledger: Ledger, entry: Entry) -> str | None:
    """What a replay of everything finds."""
    block = entry.block
    found = ledger.findings(block.header, block.seal, block.id)
    try:
        judge(plan_all(len(block.seal.states)), block.seal, found)
    except Fraud as fraud:
        return str(fraud)
    return None


def earnings(ledger: Ledger, head: Cid) -> Counter[Address]:
    """Motes that the chain up to `head` has promised and not burned, mature or not. Fees are in them."""
    earned: Counter[Address] = Counter()
    state = ledger.state(head)
    height = ledger.tree.nodes[head].height
    for due in range(height + 1, height + ledger.params.maturity + 1):
        earned.update(_sums(state.payouts(due)))
    for entry in _chain(ledger, head):
        earned.update(_sums(ledger.state(entry.block.header.parent).payouts(entry.block.height)))
    return earned


def _sums(payouts: Payouts) -> Counter[Address]:
    sums: Counter[Address] = Counter()
    for payout in payouts.items:
        sums[payout.address] += payout.amount
    return sums


def sessions_used(ledger: Ledger, head: Cid) -> int:
    """That are blocks of the chain, or shares that these carry."""
    return sum(1 + len(entry.body.shares) for entry in _chain(ledger, head))


def _chain(ledger: Ledger, head: Cid) -> Iterator[Entry]:
    """Without the genesis, newest first."""
    while (entry := ledger.entries[head]).block.height:
        yield entry
        head = entry.block.header.parent

"""What must hold at the end of every run, whoever attacked."""

from collections import Counter
from collections.abc import Iterator, Sequence

from consensus.audit import judge, plan_all
from consensus.errors import Fraud
from consensus.fork_choice import BlockTree
from consensus.state import Payouts
from consensus.task import TaskState
from deepblock.cid import Cid
from deepblock.codec import decode
from deepblock.primitives import Address
from deepblock.transactions import Transfer
from deepblock.types import Account
from node.lab.ledger import Entry, Ledger


def problems(ledger: Ledger, trees: Sequence[BlockTree], ended: bool) -> Iterator[str]:
    """Why the run shows a fault. `trees`: of the honest nodes."""
    if not ended:
        heads = len({tree.head.id for tree in trees})
        yield f"the honest nodes stand on {heads} heads, the first at height {trees[0].head.height}"
    head = trees[0].head
    issued, held = ledger.state(head.id).supply().issued, owned(ledger, head.id).total()
    if issued != held:
        yield f"{issued} motes were issued, {held} are there"
    for entry in _chain(ledger, head.id):
        if head.height - entry.block.height >= ledger.params.finality and (why := _false(ledger, entry)):
            yield f"block {entry.block.height} is final and false: {why}"


def _false(ledger: Ledger, entry: Entry) -> str | None:
    """What a replay of everything finds."""
    block = entry.block
    found = ledger.findings(block.header, block.seal, block.id)
    try:
        judge(plan_all(len(block.seal.states)), block.seal, found)
    except Fraud as fraud:
        return str(fraud)
    return None


def owned(ledger: Ledger, head: Cid) -> Counter[Address]:
    """Motes in balances, in payouts that wait, and in the escrow of tasks, which is their sponsors'. All began with
    nothing."""
    sums: Counter[Address] = Counter()
    for key, value in ledger.entries[head].values.items():
        match key[:1]:
            case b"a":
                sums[Address(key[1:])] += decode(Account, value).balance
            case b"p":
                for payout in decode(Payouts, value).items:
                    sums[payout.address] += payout.amount
            case b"t" if contract := decode(TaskState, value).contract:
                sums[contract.sponsor] += contract.escrow + contract.reserved
    return sums


def earnings(ledger: Ledger, head: Cid) -> Counter[Address]:
    """Motes that everybody gained by what miners and sponsors do: what they own, and what they spent on payments, fees
    too, which are an affair of their own."""
    earned = owned(ledger, head)
    for entry in _chain(ledger, head):
        for payload in (transaction.payload for transaction in entry.body.transactions):
            if isinstance(payload, Transfer):
                earned[payload.sender.address] += payload.fee + payload.amount
                earned[payload.to] -= payload.amount
    return earned


def sessions_used(ledger: Ledger, head: Cid) -> int:
    """That are blocks of the chain, or shares that these carry."""
    return sum(1 + len(entry.body.shares) for entry in _chain(ledger, head))


def _chain(ledger: Ledger, head: Cid) -> Iterator[Entry]:
    """Without the genesis, newest first."""
    while (entry := ledger.entries[head]).block.height:
        yield entry
        head = entry.block.header.parent

"""What a block mints or takes from a sponsor, and when it can be spent (protocol: Ledger and rewards)."""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Final

from consensus import escrow
from consensus.errors import NothingToBurn
from consensus.params import Params
from consensus.shares import forget
from consensus.state import Payout, Payouts, State, Supply
from consensus.task import specs
from deepblock.cid import Cid
from deepblock.primitives import Address
from deepblock.transactions import FraudProof
from deepblock.types import Block, Body

CARRIERS_PART: Final = 16
"""One part in so many of a share's slot is its carrier's for carrying it."""
PLEDGED_PART: Final = 4
"""One part in so many of a slot is what its carrier answers for the share with."""
PROVERS_PART: Final = 20
"""One part in so many of what burns is the prover's: of a slot and a quarter, what the carrier would have had."""


def subsidy(params: Params, height: int) -> int:
    """Rule R1. Motes that a block at `height` may mint: halved every so many blocks, at last nothing."""
    halvings = (height - 1) // params.halving
    return params.subsidy >> halvings if halvings < 64 else 0


def slot(params: Params, amount: int, age: int) -> int:
    """Rule R3. Of `amount`, half is for shares, in `max_shares` equal slots. A share of age 0 gets all of its slot, and
    for each block of age it loses one part in `share_age`."""
    return amount * (params.share_age - age) // (2 * params.max_shares * params.share_age)


def earns(params: Params, task: Cid, carrier: Cid) -> bool:
    """Whether a share that trained `task` is paid in a block that trains `carrier`."""
    return task == carrier or task in specs(params)


def split(params: Params, amount: int, block: Block, body: Body, tasks: Container[Cid]) -> list[Payout]:
    """Rule R2. What `amount` gives to the sessions that trained one of `tasks`: the block's own half of it, a carried
    share its slot, of which the carrier gets a sixteenth. Both payouts of a slot name the share, so that a fraud proof
    finds them. Slots without a share are nobody's."""
    carrier = block.header.miner
    payouts = [Payout(carrier, amount // 2)] if block.header.task in tasks else []
    for share in body.shares:
        if share.header.task in tasks:
            whole = slot(params, amount, block.height - share.header.height)
            bonus = whole // CARRIERS_PART
            payouts += [Payout(share.header.miner, whole - bonus, share.id), Payout(carrier, bonus, share.id)]
    return payouts


def reward(params: Params, state: State, block: Block, body: Body, fees: int) -> None:
    """Rule R4. Each session, the block's and those that it carries, is paid by the task that it trained: for a base
    task money is minted, a sponsored one pays its own. The fees are the miner's; all can be spent after `maturity`
    blocks."""
    minted = split(params, subsidy(params, block.height), block, body, specs(params))
    state.set_supply(Supply(state.supply().issued + sum(payout.amount for payout in minted)))
    paid = pay(params, state, block, body)
    earned = pledge(block.header.miner, [*minted, *paid])
    promise(params, state, block.height, (Payout(block.header.miner, fees), *earned))


def pay(params: Params, state: State, block: Block, body: Body) -> list[Payout]:
    """Rule R5. A sponsored task pays in its own blocks alone, out of what is reserved for it."""
    task = block.header.task
    contract = state.task(task).contract
    if contract is None:
        return []
    payouts = split(params, contract.pay, block, body, {task})
    escrow.pay_out(state, task, sum(payout.amount for payout in payouts))
    return payouts


def pledge(carrier: Address, payouts: Sequence[Payout]) -> list[Payout]:
    """Rule R7. A carrier answers for the shares that are paid, with a quarter of each one's slot: so much of the
    block's own part names the share too, so that a fraud proof finds it, as far as that part goes."""
    own = sum(payout.amount for payout in payouts if not payout.share)
    slots: Counter[Cid] = Counter()
    for payout in payouts:
        if payout.share:
            slots[payout.share] += payout.amount
    pledges = []
    for share, whole in slots.items():
        pledges.append(Payout(carrier, min(whole // PLEDGED_PART, own), share))
        own -= pledges[-1].amount
    return [Payout(carrier, own), *(payout for payout in payouts if payout.share), *pledges]


def promise(params: Params, state: State, height: int, payouts: Iterable[Payout]) -> None:
    """Puts them with what matures together with the rewards of the block at `height`; nothing is no payout."""
    due = height + params.maturity
    fresh = [payout for payout in payouts if payout.amount]
    state.set_payouts(due, Payouts((*state.payouts(due).items, *fresh)))


def burn(params: Params, state: State, height: int, proof: FraudProof) -> None:
    """Rule F1. A proof, in the block at `height`, that a carried share is false takes the payouts that name the share,
    its carrier's pledge (R7) too, while they wait, and sets its session free (C7). A twentieth is the prover's, and
    waits in its turn; the rest was never issued."""
    due = proof.height + params.maturity
    waiting = state.payouts(due).items if proof.height < height < due else ()
    burned = sum(payout.amount for payout in waiting if payout.share == proof.share)
    if not burned:
        raise NothingToBurn(proof.share, proof.height)
    forget(state, proof.height, proof.share)
    prize = burned // PROVERS_PART
    state.set_payouts(due, Payouts(tuple(payout for payout in waiting if payout.share != proof.share)))
    state.set_supply(Supply(state.supply().issued - burned + prize))
    promise(params, state, height, [Payout(proof.sender.address, prize)])


def pay_matured(state: State, height: int) -> None:
    """Rule R6. Rewards whose time has come can be spent, by the transactions of this very block too."""
    for payout in state.payouts(height).items:
        account = state.account(payout.address)
        state.set_account(payout.address, replace(account, balance=account.balance + payout.amount))
    state.set_payouts(height, Payouts())

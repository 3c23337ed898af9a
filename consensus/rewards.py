"""What a block mints, and when it can be spent (protocol: Ledger and rewards)."""

from dataclasses import replace

from consensus.params import Params
from consensus.state import Payout, Payouts, State, Supply
from deepblock.primitives import Address


def subsidy(params: Params, height: int) -> int:
    """Motes that a block at `height` may mint: halved every so many blocks, at last nothing."""
    halvings = (height - 1) // params.halving
    return params.subsidy >> halvings if halvings < 64 else 0


def miners_half(params: Params, height: int) -> int:
    """Half of the subsidy is the miner's; the other half is for carried shares, and not minted without them."""
    return subsidy(params, height) // 2


def reward_miner(params: Params, state: State, height: int, miner: Address, fees: int) -> None:
    """The miner's half and the fees, to be spent after `maturity` blocks."""
    minted = miners_half(params, height)
    state.set_supply(Supply(state.supply().issued + minted))
    if minted + fees:
        due = height + params.maturity
        state.set_payouts(due, Payouts((*state.payouts(due).items, Payout(miner, minted + fees))))


def pay_matured(state: State, height: int) -> None:
    """Rewards whose time has come can be spent, by the transactions of this very block too."""
    for payout in state.payouts(height).items:
        account = state.account(payout.address)
        state.set_account(payout.address, replace(account, balance=account.balance + payout.amount))
    state.set_payouts(height, Payouts())

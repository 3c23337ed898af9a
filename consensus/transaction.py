"""Transactions (protocol: Ledger and rewards)."""

from consensus.errors import (
    AmountTooLarge,
    BadSignature,
    CannotPay,
    FeeTooLow,
    WrongNonce,
    WrongTransactionNetwork,
)
from consensus.market import check_offer, close_task, fund_task, open_task
from consensus.params import Params
from consensus.rewards import burn
from consensus.state import State
from deepblock import keys
from deepblock.cid import Cid
from deepblock.transactions import (
    CloseTask,
    FraudProof,
    FundTask,
    OpenTask,
    Payload,
    Transaction,
    Transfer,
    signing_bytes,
)
from deepblock.types import Account


def check_transaction(params: Params, network: Cid, transaction: Transaction) -> None:
    """Rule L1. What needs no state: the network, the fee for its size, the signature. Cheapest first."""
    payload = transaction.payload
    if payload.network != network:
        raise WrongTransactionNetwork(payload.network, network)
    required = params.fee_per_byte * transaction.size
    if payload.fee < required:
        raise FeeTooLow(payload.fee, required)
    if (total := outlay(payload)) >= 2**64:
        raise AmountTooLarge(total)
    if not keys.verify(payload.sender, transaction.signature, signing_bytes(payload)):
        raise BadSignature
    if isinstance(payload, OpenTask):
        check_offer(params, payload)


def outlay(payload: Payload) -> int:
    """Rule L2. Motes that leave the sender's account: the fee and what goes elsewhere."""
    match payload:
        case Transfer(amount=amount) | FundTask(amount=amount) | OpenTask(escrow=amount):
            return payload.fee + amount
    return payload.fee


def apply_transaction(params: Params, state: State, height: int, transaction: Transaction) -> int:
    """Rule L3. What it does in the block at `height`. Returns the fee, in motes, which is the block's miner's. A
    transaction that is refused has changed nothing."""
    payload = transaction.payload
    address = payload.sender.address
    spent(state.account(address), payload)
    _act(params, state, height, payload)
    # Read again: the money may have gone to the sender itself.
    state.set_account(address, spent(state.account(address), payload))
    return payload.fee


def spent(sender: Account, payload: Payload) -> Account:
    """Rule L3, the sender's side: its account after the outlay. Raises WrongNonce, CannotPay."""
    if payload.nonce != sender.nonce:
        raise WrongNonce(payload.nonce, sender.nonce, payload.sender.address)
    total = outlay(payload)
    if total > sender.balance:
        raise CannotPay(payload.sender.address, sender.balance, total)
    return Account(sender.balance - total, sender.nonce + 1)


def _act(params: Params, state: State, height: int, payload: Payload) -> None:
    match payload:
        case Transfer(to=receiver, amount=amount):
            state.deposit(receiver, amount)
        case OpenTask():
            open_task(params, state, height, payload)
        case FundTask():
            fund_task(state, payload)
        case CloseTask():
            close_task(state, payload)
        case FraudProof():
            burn(params, state, height, payload)

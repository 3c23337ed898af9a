"""Transactions (protocol: Ledger and rewards)."""

from dataclasses import replace

from consensus.errors import (
    AmountTooLarge,
    BadSignature,
    CannotPay,
    FeeTooLow,
    WrongNonce,
    WrongTransactionNetwork,
)
from consensus.params import Params
from consensus.state import State
from deepblock import keys
from deepblock.cid import Cid
from deepblock.types import Transaction, signing_bytes


def check_transaction(params: Params, network: Cid, transaction: Transaction) -> None:
    """What needs no state: the network, the fee for its size, the signature. Cheapest first."""
    payload = transaction.payload
    if payload.network != network:
        raise WrongTransactionNetwork(payload.network, network)
    required = params.fee_per_byte * transaction.size
    if payload.fee < required:
        raise FeeTooLow(payload.fee, required)
    if payload.amount + payload.fee >= 2**64:
        raise AmountTooLarge(payload.amount + payload.fee)
    if not keys.verify(payload.sender, transaction.signature, signing_bytes(payload)):
        raise BadSignature


def apply_transaction(state: State, transaction: Transaction) -> int:
    """Moves the money and returns the fee, in motes, which is the block's miner's."""
    payload = transaction.payload
    address = payload.sender.address
    sender = state.account(address)
    if payload.nonce != sender.nonce:
        raise WrongNonce(payload.nonce, sender.nonce, address)
    spent = payload.amount + payload.fee
    if spent > sender.balance:
        raise CannotPay(address, sender.balance, spent)
    state.set_account(address, replace(sender, balance=sender.balance - spent, nonce=sender.nonce + 1))
    receiver = state.account(payload.to)
    state.set_account(payload.to, replace(receiver, balance=receiver.balance + payload.amount))
    return payload.fee

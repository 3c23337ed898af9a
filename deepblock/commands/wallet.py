"""keys and send: what needs a secret. It never leaves this process."""

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deepblock.amounts import format_dbk, parse_dbk
from deepblock.cid import Cid
from deepblock.client import Client
from deepblock.commands.chain import parse_address
from deepblock.commands.context import WALLET, CommandError, Context, progress
from deepblock.keys import Wallet
from deepblock.primitives import Address, Motes, PublicKey
from deepblock.transactions import Payload, Transaction, Transfer

POLL: Final = 0.5
"""Seconds between two looks whether a transaction is in a block."""

HIGH_FEE: Final = 100
"""Times the least fee; more is taken for a slip of the hand."""


@dataclass(frozen=True, slots=True)
class KeysAnswer:
    path: str
    address: Address
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class Sent:
    """`height`: of the block it is in; None where nobody waited."""

    id: Cid
    amount: Motes
    fee: Motes
    nonce: int
    height: int | None


def keys_new(context: Context, options: Namespace) -> int:
    path = options.path or context.data_dir / WALLET
    path.parent.mkdir(parents=True, exist_ok=True)
    wallet = Wallet.new()
    wallet.save(path)
    context.show(
        _described(path, wallet), f"{wallet.address}\nits secret is in {path}: keep a copy of that file"
    )
    return 0


def keys_show(context: Context, options: Namespace) -> int:
    path = options.path or context.data_dir / WALLET
    wallet = Wallet.load(path)
    context.show(_described(path, wallet), f"address     {wallet.address}\npublic key  {wallet.key}")
    return 0


def send(context: Context, options: Namespace) -> int:
    to = parse_address(options.to)
    try:
        amount = parse_dbk(options.amount)
        fee = None if options.fee is None else parse_dbk(options.fee)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if amount == 0:
        raise CommandError("0 DBK would only cost a fee; the least amount is 0.00000001")
    wallet, client = context.wallet(options.wallet), context.client
    transaction = sign(client, wallet, Transfer, fee, to=to, amount=amount)
    payload = transaction.payload
    if not options.high_fee:
        _check_fee(payload.fee, client.node_info().fee_per_byte * transaction.size)
    sent = client.tx_send(transaction)
    if not context.as_json:  # before the wait: whatever happens to it, the money is on its way
        fee_text = format_dbk(payload.fee)
        print(f"{sent}\nsent {format_dbk(amount)} DBK to {to} for a fee of {fee_text} DBK", flush=True)
    height = wait(client, sent) if options.wait else None
    if context.as_json:
        context.show(Sent(sent, amount, payload.fee, payload.nonce, height), "")
    elif height is not None:
        print(f"in block {height:,}")
    return 0


def sign(
    client: Client, wallet: Wallet, payload: Callable[..., Payload], fee: int | None = None, **fields: Any
) -> Transaction:
    """A payload of these fields with the wallet's next nonce. `fee`: motes; without, the least the node takes."""
    info = client.node_info()
    nonce = client.state_get_account(wallet.address).next_nonce

    def with_fee(fee: int) -> Transaction:
        return wallet.sign(payload(network=info.network, sender=wallet.key, nonce=nonce, fee=fee, **fields))

    if fee is not None:
        return with_fee(fee)
    transaction = with_fee(0)
    while transaction.payload.fee < (least := info.fee_per_byte * transaction.size):
        transaction = with_fee(least)  # a larger fee may take more bytes, which cost more
    return transaction


def _check_fee(fee: int, least: int) -> None:
    """Raises CommandError where `fee` must be a mistake."""
    if fee > HIGH_FEE * least:
        raise CommandError(
            f"a fee of {format_dbk(fee)} DBK is more than {HIGH_FEE} times the least, {format_dbk(least)} DBK; "
            "if it is meant, say --high-fee"
        )


def wait(client: Client, transaction: Cid) -> int:
    """The height of the block that takes it."""
    try:
        while (found := client.tx_get(transaction)).height is None:
            progress("waiting for a block …")
            time.sleep(POLL)
    except BaseException:
        progress("")
        print(f"already sent; follow it with `deepblock tx {transaction}`", file=sys.stderr)
        raise
    progress("")
    return found.height


def _described(path: Path, wallet: Wallet) -> KeysAnswer:
    return KeysAnswer(str(path), wallet.address, wallet.key)

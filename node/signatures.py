"""A block's transactions are looked at by themselves (rule L1) on all cores, before the rules see the block.

What costs there is the signature, and the library that checks it lets go of Python's lock meanwhile
(`deepblock.ed25519`). So a full block's signatures take as long as those of one core's part of it, and the loop goes on
serving others. Nothing is judged here: what is found in order need not be checked again, and the rest is left to the
rules, which refuse it with its reason.
"""

import asyncio
import os
from collections.abc import Container, Sequence
from typing import Final

from consensus.errors import Invalid
from consensus.params import Params
from consensus.transaction import check_transaction
from deepblock.cid import Cid
from deepblock.transactions import Transaction

CORES: Final = os.cpu_count() or 1
FEW: Final = 16
"""So many transactions are sooner checked than handed to threads."""


async def in_order(
    params: Params,
    network: Cid,
    transactions: Sequence[Transaction],
    known: Container[Cid],
    threads: int,
) -> frozenset[Cid]:
    """Ids of those of `transactions` that meet rule L1. `known`: ids of which that is known. Not all of them may be
    found: after one that is refused, and where they are few, none are looked at."""
    met = frozenset(transaction.id for transaction in transactions if transaction.id in known)
    fresh = [transaction for transaction in transactions if transaction.id not in met]
    if len(fresh) <= FEW:
        return met
    parts = (fresh[first::threads] for first in range(threads))
    found = await asyncio.gather(*(asyncio.to_thread(_first_ones, params, network, part) for part in parts))
    return met.union(*found)


def _first_ones(params: Params, network: Cid, transactions: Sequence[Transaction]) -> list[Cid]:
    """Ids of those before the first that is refused."""
    met = []
    for transaction in transactions:
        try:
            check_transaction(params, network, transaction)
        except Invalid:
            break
        met.append(transaction.id)
    return met

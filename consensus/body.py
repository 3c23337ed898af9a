"""The body against its header (protocol: Header, body, seal, result)."""

from collections.abc import Container

from consensus.errors import BodyTooLarge, RepeatedTransaction, TooMany, WrongBody
from consensus.params import Params
from consensus.transaction import check_transaction
from deepblock.cid import Cid
from deepblock.codec import encode
from deepblock.types import Body, Header


def check_body(params: Params, header: Header, body: Body, checked: Container[Cid] = ()) -> None:
    """Rule B5. It is the header's, within the limits, and each transaction in it is in order. `checked`: ids of those
    that are known to be, on this network."""
    if body.cid != header.body:
        raise WrongBody(body.cid, header.body)
    size = len(encode(body))
    if size > params.max_body:
        raise BodyTooLarge(size, params.max_body)
    for what, items, limit in (
        ("transactions", body.transactions, params.max_transactions),
        ("shares", body.shares, params.max_shares),
        ("signals", body.signals, params.max_signals),
    ):
        if len(items) > limit:
            raise TooMany(what, len(items), limit)
    seen = set()
    for transaction in body.transactions:
        if transaction.id in seen:
            raise RepeatedTransaction(transaction.id)
        seen.add(transaction.id)
        if transaction.id not in checked:
            check_transaction(params, header.network, transaction)

"""The body against its header and its limits."""

from dataclasses import replace

import pytest

from consensus.body import check_body
from consensus.errors import BadSignature, BodyTooLarge, RepeatedTransaction, TooMany, WrongBody
from deepblock.codec import encode
from deepblock.primitives import Signature
from deepblock.types import Body, Share
from tests.unit.consensus.parts import ALICE, BOB, PARAMS, ancestry, header_on, named, seal_of, transfer


def transfers(count: int):
    return tuple(transfer(ALICE, BOB.address, 1, nonce) for nonce in range(count))


def check(body: Body, **limits):
    check_body(replace(PARAMS, **limits), header_on(ancestry(), body=body.cid), body)


def test_a_body_in_order_passes():
    check(Body())
    check(Body(transfers(2), (), (named("a"), named("b"))))


def test_it_is_the_headers():
    body, other = Body(transfers(1)), Body()
    with pytest.raises(WrongBody) as caught:
        check_body(PARAMS, header_on(ancestry(), body=other.cid), body)
    assert (caught.value.found, caught.value.required) == (body.cid, other.cid)


def share() -> Share:
    header = header_on(ancestry())
    return Share(header, seal_of(header))


@pytest.mark.parametrize(
    ("what", "limit", "body"),
    [
        ("transactions", "max_transactions", lambda count: Body(transfers(count))),
        ("shares", "max_shares", lambda count: Body((), (share(),) * count)),
        ("signals", "max_signals", lambda count: Body((), (), (named("s"),) * count)),
    ],
)
def test_each_list_has_its_limit(what, limit, body):
    check(body(3), **{limit: 3})
    with pytest.raises(TooMany) as caught:
        check(body(4), **{limit: 3})
    assert (caught.value.what, caught.value.found, caught.value.limit) == (what, 4, 3)


def test_shares_are_not_in_force_where_none_are_allowed():
    with pytest.raises(TooMany, match="1 shares, at most 0"):
        check(Body((), (share(),)), max_shares=0)


def test_it_has_a_size():
    body = Body(transfers(3))
    size = len(encode(body))
    check(body, max_body=size)
    with pytest.raises(BodyTooLarge) as caught:
        check(body, max_body=size - 1)
    assert (caught.value.found, caught.value.limit) == (size, size - 1)


def test_no_transaction_twice():
    one, two = transfers(2)
    with pytest.raises(RepeatedTransaction) as caught:
        check(Body((one, two, one)))
    assert caught.value.transaction == one.id


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_transaction_is_checked(place):
    items = list(transfers(3))
    items[place] = replace(items[place], signature=Signature(bytes(64)))
    body = Body(tuple(items))
    with pytest.raises(BadSignature):
        check(body)
    check_body(PARAMS, header_on(ancestry(), body=body.cid), body, {items[place].id})  # somebody has
    with pytest.raises(BadSignature):
        check_body(PARAMS, header_on(ancestry(), body=body.cid), body, {items[place - 1].id})

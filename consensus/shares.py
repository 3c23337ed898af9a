"""Shares: sessions that became no block of a chain, and are carried, counted and paid by a later one (protocol:
Model and ensemble; Ledger and rewards).

There is no gate for them: no verified work is thrown away for its score. And they add no weight.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from consensus.errors import (
    FalseShare,
    Invalid,
    ShareFromTheFuture,
    ShareOfAnotherChain,
    ShareRepeated,
    ShareTooOld,
)
from consensus.header import Ancestry, check_header
from consensus.params import Params
from consensus.seal import SpecOf, check_session
from consensus.state import Session, Sessions, State
from deepblock.cid import Cid
from deepblock.types import Block, Body, Share


@dataclass(frozen=True, slots=True)
class Below:
    """What a share stands on: the chain below it, and the state after its parent."""

    ancestry: Ancestry
    state: State


Past = Callable[[Cid], Below | None]
"""What is below a child of a block; None unless that block is one of the last `share_age` of a chain, up to the parent
of the block that carries the child."""


def age(params: Params, block: Block, share: Share) -> int:
    """Rule C1. The height of the carrier less that of the share: 0 … `share_age` − 1, so a share's parent is one of the
    last `share_age` blocks below its carrier."""
    height, carrier = share.header.height, block.height
    if not 0 <= carrier - height < params.share_age:
        raise ShareTooOld(height, carrier, params.share_age - 1)
    return carrier - height


def check_share(params: Params, network: Cid, share: Share, spec_of: SpecOf) -> None:
    """Rule C2. What a share shows by itself: as a block (rule B1), but its ticket may be r times as high, and there is
    no gate."""
    check_session(params, network, share.header, share.seal, spec_of, params.share_ratio)


def check_share_chained(
    params: Params, network: Cid, share: Share, below: Ancestry, state: State, now: int
) -> None:
    """Rule C3. Its header is one that a block on its parent could have. `state`: after the share's parent; `now`: Unix
    seconds."""
    check_header(params, network, share.header, below, state.schedule().current, now)


def check_carried(params: Params, state: State, block: Block, body: Body, past: Past) -> None:
    """Rule C5. All that a block owes to its shares: each is in order, and none of these sessions is on the chain.
    `state`: after the block's parent."""
    seen = set(lately(params, state, block.height))
    for share in body.shares:
        try:
            _check_one(params, block, share, past)
            if share.header.cid in seen:
                raise ShareRepeated(share.header.cid)
        except Invalid as error:
            raise FalseShare(share.id, str(error)) from error
        seen.add(share.header.cid)


def lately(params: Params, state: State, height: int) -> Iterator[Cid]:
    """The headers that a block at `height` cannot carry: of the last blocks, and of the shares that they carry.
    `state`: after its parent."""
    for before in range(max(0, height - params.share_age), height):
        yield from state.sessions(before).headers


def _check_one(params: Params, block: Block, share: Share, past: Past) -> None:
    """Rule C4. A carried share is in order on this chain: a child of one of its last blocks, made no later than the
    carrier, but for `max_future` seconds of clocks that differ."""
    age(params, block, share)
    below = past(share.header.parent)
    if below is None:
        raise ShareOfAnotherChain(share.header.parent)
    made, carried = share.header.timestamp, block.header.timestamp
    if made > carried + params.max_future:
        raise ShareFromTheFuture(made, carried, params.max_future)
    network = block.header.network
    check_share_chained(params, network, share, below.ancestry, below.state, carried)
    check_share(params, network, share, lambda task: below.state.spec(params, task))


def note_sessions(params: Params, state: State, block: Block, body: Body) -> None:
    """Rule C6. A session is on a chain once, as a block or as a share, whatever seal is glued to its header: the
    headers of the last `share_age` blocks and of the shares that they carry are in the state."""
    carried = (Session(share.header.cid, share.id) for share in body.shares)
    state.set_sessions(block.height, Sessions((Session(block.header.cid), *carried)))
    if block.height >= params.share_age:
        state.set_sessions(block.height - params.share_age, Sessions())


def forget(state: State, height: int, share: Cid) -> None:
    """Rule C7. What a block at `height` carried is proven false: the session, which may have a true seal, is on the
    chain no more."""
    before = state.sessions(height).items
    after = tuple(session for session in before if session.share != share)
    if after != before:
        state.set_sessions(height, Sessions(after))

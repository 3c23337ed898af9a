"""Asking a peer for its status: who stands where, and who else is there. Nodes do it, and those that only introduce."""

from itertools import islice
from typing import Final

import structlog

from deepblock import codec
from node.addresses import peer_in
from node.messages import MAX_ADDRESSES, MAX_REPLY, STATUS, Status
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers import BAN_SCORE, Peers

log = structlog.get_logger("peers")

ASK_TIME: Final = 10.0
"""Seconds a peer has to answer."""
OF_ONE: Final = 2
"""Addresses of one peer that are passed on."""


async def ask_status(door: Door, peers: Peers, peer: str, own: Status) -> Status | None:
    """What the peer says of itself, for what we say of ourselves. The addresses in it are learned. None where it does
    not answer; where it answers as no peer of this network would, it is banned."""
    try:
        reply = await door.ask(peer, STATUS, codec.encode(own), timeout=ASK_TIME, max_reply=MAX_REPLY)
        status = codec.decode(Status, reply, MAX_REPLY)
    except DoorError as error:
        log.debug("status_failed", peer=peer, reason=str(error))
        return None
    except codec.Malformed as error:
        peers.penalise(peer, BAN_SCORE, f"undecodable status: {error}")
        return None
    if status.network != own.network:
        peers.penalise(peer, BAN_SCORE, f"is on another network, {status.network}")
        return None
    for addr in (*status.own[:MAX_ADDRESSES], *status.others[:MAX_ADDRESSES]):
        peers.learn(addr, peer)
    return status


def passed_on(peer: str, status: Status) -> tuple[str, ...]:
    """Of the addresses that a peer gives as its own, those that others are told: it speaks for nobody else."""
    own = (addr for addr in status.own[:MAX_ADDRESSES] if peer_in(addr) == peer)
    return tuple(islice(own, OF_ONE))

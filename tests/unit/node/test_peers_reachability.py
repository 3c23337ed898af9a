"""The verdict about oneself: who is asked, whom to believe."""

import asyncio

import pytest

from deepblock import codec
from node.p2p.dialback import DIAL_BACK, DialBack, DialledBack
from node.p2p.events import PeerGone
from node.peers.reachability import ASKED, Reachability
from tests.unit.node.p2p_parts import doors
from tests.unit.node.peers_parts import IDS, Loopback, addr_of

OWN = "44.1.1.1"


class Answers(Loopback):
    """A door whose peers say what the test wants: an address where they reached this node, or None."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, str | None] = {}
        self.asked: list[str] = []

    async def ask(self, peer, protocol, request, *, timeout, max_reply):
        assert protocol == DIAL_BACK and codec.decode(DialBack, request) == DialBack(9645)
        self.asked.append(peer)
        if peer not in self.answers:
            raise PeerGone("silent")
        found = self.answers[peer]
        return codec.encode(DialledBack(found or addr_of(IDS[0], 9645, OWN), found is not None))


def look(door: Answers) -> Reachability:
    reachability = Reachability(door)
    asyncio.run(reachability.look())
    return reachability


def test_without_peers_or_answers_nothing_is_known():
    door = Answers()
    assert look(door).verdict == "unknown"
    door.join(IDS[1])
    assert look(door).verdict == "unknown"


def test_one_who_reached_us_is_enough_but_not_to_believe_in_an_address():
    door = Answers()
    for peer, ip in ((IDS[1], "20.1.1.1"), (IDS[2], "20.1.2.2"), (IDS[3], "30.1.1.1")):
        door.join(peer, ip)
    here = addr_of(IDS[0], 9645, OWN)
    door.answers = {IDS[1]: here, IDS[2]: None, IDS[3]: None}
    found = look(door)
    assert (found.verdict, found.addr) == ("reachable", None)
    door.answers = {IDS[1]: here, IDS[2]: here, IDS[3]: None}
    assert look(door).addr is None, "two of one network are one"
    door.answers = {IDS[1]: here, IDS[2]: None, IDS[3]: here}
    assert look(door).addr == here


def test_two_in_vain_are_a_verdict_and_one_is_none():
    door = Answers()
    door.join(IDS[1])
    door.answers = {IDS[1]: None, IDS[2]: None}
    assert look(door).verdict == "unknown"
    door.join(IDS[2])
    assert look(door).verdict == "not reachable"


def test_silence_later_changes_nothing():
    door = Answers()
    door.join(IDS[1])
    door.answers = {IDS[1]: addr_of(IDS[0], 9645)}
    reachability = look(door)
    door.answers = {}
    asyncio.run(reachability.look())
    assert reachability.verdict == "reachable"


@pytest.mark.parametrize("answer", [addr_of(IDS[5]), "nonsense", f"/dns4/evil.example/tcp/1/p2p/{IDS[0]}"])
def test_answers_about_others_do_not_count(answer):
    door = Answers()
    door.join(IDS[1])
    door.answers = {IDS[1]: answer}
    assert look(door).verdict == "unknown"


def test_those_from_far_away_are_asked_and_among_them_those_that_we_chose():
    door = Answers()
    for peer in IDS[1:5]:
        door.join(peer, "192.168.1.7", outbound=True)
    for number, peer in enumerate(IDS[5:10]):
        door.join(peer, f"20.{number}.1.1")
    for number, peer in enumerate(IDS[10:12]):
        door.join(peer, f"30.{number}.1.1", outbound=True)
    look(door)
    assert len(door.asked) == ASKED and set(IDS[10:12]) < set(door.asked) < set(IDS[5:12])


def test_two_real_nodes():
    async def scene():
        async with doors(2) as (one, other):
            for door in (one, other):
                reachability = Reachability(door)
                await reachability.look()
                assert reachability.verdict == "reachable" and reachability.addr is None

    asyncio.run(scene())

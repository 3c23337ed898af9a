"""Points, bans, and bans that outlive a restart."""

import time

from node.peers.file import Ban
from node.peers.penalties import BAN_SCORE, BAN_TIME, HALF_LIFE, Penalties
from tests.unit.node.peers_parts import IDS, Clock


def made() -> tuple[Penalties, Clock, list[tuple[str, float]]]:
    clock, bans = Clock(), []
    return Penalties(lambda peer, seconds: bans.append((peer, seconds)), clock), clock, bans


def test_points_add_up_to_a_ban_and_fade():
    penalties, clock, bans = made()
    penalties.penalise(IDS[1], 60, "garbage")
    clock.now += HALF_LIFE
    assert (penalties.score(IDS[1]), penalties.reason(IDS[1])) == (30, "garbage")
    penalties.penalise(IDS[1], 69, "more garbage")
    assert bans == []
    penalties.penalise(IDS[1], 20, "a false block")
    assert bans == [(IDS[1], BAN_TIME)] and penalties.is_banned(IDS[1])
    penalties.penalise(IDS[1], 20, "another")
    assert len(bans) == 1, "once"
    clock.now += BAN_TIME
    assert not penalties.is_banned(IDS[1]) and penalties.banned_for(IDS[1]) == 0


def test_what_is_harmless_by_now_is_forgotten():
    penalties, clock, _ = made()
    penalties.penalise(IDS[1], 5, "garbage")
    clock.now += 10 * HALF_LIFE
    penalties.penalise(IDS[2], 5, "garbage")
    assert list(penalties) == [IDS[2]]


def test_bans_outlive_a_restart_with_what_is_left_of_them():
    penalties, clock, _ = made()
    penalties.penalise(IDS[1], BAN_SCORE, "a false block")
    penalties.penalise(IDS[2], 10, "garbage")
    clock.now += 600
    (ban,) = penalties.bans()
    assert ban.peer == IDS[1] and ban.reason == "a false block"
    assert abs(ban.until - time.time() - (BAN_TIME - 600)) < 5

    again, clock, bans = made()
    again.restore([ban, Ban(IDS[3], int(time.time()) - 1, "over"), Ban(IDS[4], 10**12, "for ever?")])
    assert again.is_banned(IDS[1]) and again.reason(IDS[1]) == "a false block"
    assert not again.is_banned(IDS[3])
    assert [(peer, round(left, -2)) for peer, left in bans] == [(IDS[1], 3_000), (IDS[4], BAN_TIME)]
    clock.now += BAN_TIME
    assert not again.is_banned(IDS[4])

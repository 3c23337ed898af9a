from node.allowance import REMEMBERED, Allowance


def test_a_neighbour_gets_a_burst_and_then_so_much_a_second() -> None:
    now = 0.0
    allowance = Allowance(10, 40, lambda: now)
    assert allowance.take("one", 40)
    assert not allowance.take("one")
    assert allowance.take("another")
    now = 1.0
    assert not allowance.take("one", 11)
    assert allowance.take("one", 10)
    assert not allowance.take("one")
    now = 100.0
    assert not allowance.take("one", 41)
    assert allowance.take("one", 40)


def test_it_remembers_only_so_many() -> None:
    allowance = Allowance(1, 1, lambda: 0.0)
    assert all(allowance.take(peer) for peer in range(REMEMBERED + 1))
    assert not allowance.take(1)
    assert allowance.take(0)

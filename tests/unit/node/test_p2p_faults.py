"""A bad network between two doors: what is asked for comes late or not at all, and never wrong; the doors stay up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from node.p2p.door import Door
from node.p2p.events import AskTimeout, DoorError, Fault
from tests.unit.node.fault_proxy import FaultProxy, Faults, proxied
from tests.unit.node.p2p_parts import Log, make_door, until

SIZE = 1_000_000


@asynccontextmanager
async def linked(faults: Faults) -> AsyncIterator[tuple[Door, Door, FaultProxy]]:
    """A door that has dialled another by way of the proxy."""
    near, far = make_door(), make_door()
    try:
        await near.start()
        await far.start()
        port = int(far.addrs[0].split("/tcp/")[1].split("/")[0])
        async with proxied(port, faults) as proxy:
            await near.connect(proxy.addr(far.addrs[0]))
            yield near, far, proxy
    finally:
        await near.stop()
        await far.stop()


async def fetch(near: Door, far: Door, timeout: float = 20.0) -> int:
    """A megabyte; how much came."""
    request = str(SIZE).encode()
    return len(await near.ask(far.peer_id, "/noise/1", request, timeout=timeout, max_reply=SIZE))


@pytest.mark.parametrize(
    ("faults", "least"),
    [
        (Faults(delay=0.02), 0.04),
        (Faults(rate=1_000_000.0), 0.9),
        (Faults(loss=0.05), 0.0),
    ],
    ids=["late", "slow", "lossy"],
)
def test_a_bad_network_only_takes_longer(faults: Faults, least: float) -> None:
    async def scene() -> None:
        async with linked(faults) as (near, far, _):
            began = time.monotonic()
            assert await fetch(near, far) == SIZE
            assert time.monotonic() - began >= least

    asyncio.run(scene())


def test_a_wrong_bit_ends_the_connection_and_nothing_else() -> None:
    async def scene() -> None:
        async with linked(Faults()) as (near, far, proxy):
            log = Log(far)
            proxy.faults.corrupt = True
            with pytest.raises(DoorError):
                await fetch(near, far, timeout=5.0)
            await until(lambda: not near.peers() and not far.peers())
            assert not log.of(Fault)  # who changed it is not who sent it
            await near.connect(proxy.addr(far.addrs[0]))
            assert await fetch(near, far) == SIZE

    asyncio.run(scene())


def test_a_cut_is_noticed_by_both_at_once() -> None:
    async def scene() -> None:
        async with linked(Faults()) as (near, far, proxy):
            await until(lambda: bool(far.peers()))
            proxy.cut()
            await until(lambda: not near.peers() and not far.peers(), seconds=3)
            await near.connect(proxy.addr(far.addrs[0]))
            assert await fetch(near, far) == SIZE

    asyncio.run(scene())


def test_silence_costs_the_time_given_and_ends_with_the_silence() -> None:
    async def scene() -> None:
        async with linked(Faults()) as (near, far, proxy):
            proxy.faults.silent = True
            began = time.monotonic()
            with pytest.raises(AskTimeout):
                await fetch(near, far, timeout=1.0)
            assert time.monotonic() - began < 3.0
            proxy.faults.silent = False
            assert await fetch(near, far) == SIZE

    asyncio.run(scene())

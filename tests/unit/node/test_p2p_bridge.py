import asyncio
import threading

import pytest
import trio

from node.p2p import bridge as bridge_module
from node.p2p.bridge import Bridge
from node.p2p.events import HostDown
from tests.unit.node.p2p_parts import until


async def forever(ready):
    ready()
    await trio.sleep_forever()


async def started(program=forever, on_down=lambda: None) -> Bridge:
    bridge = Bridge(program, on_down)
    await bridge.start()
    return bridge


def test_calls_run_in_trio_and_bring_back_values_and_errors():
    async def divide(a, b):
        await trio.sleep(0)
        return a / b, threading.current_thread().name

    async def scene():
        bridge = await started()
        assert await bridge.call(divide, 1, 2) == (0.5, "p2p")
        with pytest.raises(ZeroDivisionError):
            await bridge.call(divide, 1, 0)
        await bridge.stop()
        with pytest.raises(HostDown):
            await bridge.call(divide, 1, 2)

    asyncio.run(scene())


def test_a_cancelled_call_is_cancelled_in_trio():
    ended = threading.Event()

    async def wait():
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def scene():
        bridge = await started()
        call = asyncio.create_task(bridge.call(wait))
        await asyncio.sleep(0.05)
        call.cancel()
        await until(ended.is_set)
        await bridge.stop()

    asyncio.run(scene())


def test_calling_back_awaits_asyncio_and_is_cancelled_with_its_caller():
    cancelled = []

    async def greet(name):
        await asyncio.sleep(0)
        return f"hello {name}"

    async def stuck():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scene():
        bridge = await started()
        assert await bridge.call(bridge.call_back, greet, "trio") == "hello trio"

        async def impatient():
            with trio.move_on_after(0.05):
                await bridge.call_back(stuck)

        await bridge.call(impatient)
        await until(lambda: cancelled)
        await bridge.stop()

    asyncio.run(scene())


def test_a_program_that_cannot_start_tells_its_starter_and_is_not_tried_again():
    tries = []

    async def broken(ready):
        tries.append(1)
        raise OSError("no network here")

    async def scene():
        bridge = Bridge(broken, lambda: None)
        with pytest.raises(OSError, match="no network here"):
            await bridge.start()
        await asyncio.to_thread(bridge._thread.join, 5)
        assert tries == [1]

    asyncio.run(scene())


def test_a_crash_fails_the_calls_under_way_tells_it_and_runs_the_program_again(monkeypatch):
    monkeypatch.setattr(bridge_module, "BACKOFF", (0.05, 0.1))
    lives, downs, fuse = [], [], []

    async def program(ready):
        fuse[:] = [trio.Event()]
        lives.append(1)
        ready()
        await fuse[0].wait()
        raise RuntimeError("the program crashed")

    async def scene():
        bridge = await started(program, lambda: downs.append(1))
        for life in range(1, 4):
            await until(lambda life=life: len(lives) == life and bridge._nursery)
            call = asyncio.create_task(bridge.call(trio.sleep_forever))
            await asyncio.sleep(0.05)
            bridge._token.run_sync_soon(fuse[0].set)
            with pytest.raises(HostDown):
                await asyncio.wait_for(call, 5)
            await until(lambda life=life: len(downs) == life)
        await bridge.stop()

    asyncio.run(scene())

"""The second backend: a Kubo daemon, such as the one that already runs on this machine. It may be down, slow or lying;
then this node says so, once, goes on without it, and tries again later."""

import asyncio
import json
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import structlog
from ipfshttpclient import exceptions
from requests import RequestException

from deepblock.blockstore import Blockstore, Missing
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.disk import write_whole
from node.ipfs.daemon import Daemon, Lie
from node.ipfs.pause import Pause

log = structlog.get_logger("ipfs")

BLOCKS_TIME: Final = 30.0
"""Seconds for the blocks of one request, all together."""
CALL_TIME: Final = 300.0
"""Seconds for any other call: a large file has to be copied and hashed."""
ABREAST: Final = 2
"""Requests for blocks at once: what one has brought is hashed while the daemon answers the other."""
THREADS: Final = ABREAST + 3
"""Calls at once, those counted that nobody waits for any more."""

T = TypeVar("T")


class Unanswered(Exception):
    """The daemon did not do what it was asked for. Why is in its state."""


class Kubo:
    """The daemon at `addr`, a multiaddr; where that is empty, there is none. `pins`: a file in which this node notes
    what it has pinned there, so that it unpins nobody else's. `looks`: seconds between two looks whether the daemon
    still answers."""

    name = "kubo"
    batch = 96
    """One stream of 24 MiB: each request costs a daemon milliseconds, and one long stream is faster than two short ones
    side by side."""

    def __init__(self, addr: str, store: Blockstore, pins: Path, looks: float = 10.0) -> None:
        self.state = "down: not asked yet" if addr else "off"
        self._addr = addr
        self._store = store
        self._pins = pins
        self._pinned = _noted(pins, addr)
        self._looks = looks
        self._pause = Pause()
        self._threads = 0
        self._reading, self._keeping = asyncio.Semaphore(ABREAST), asyncio.Lock()
        self._failed = asyncio.Event()

    async def run(self) -> None:
        while self._addr:
            self._failed.clear()
            try:
                version = await self._ask(Daemon.version, within=BLOCKS_TIME)
                self._become(f"up, version {version}")
                async with asyncio.timeout(self._looks):
                    await self._failed.wait()
            except TimeoutError:  # of the look: it has stayed up, whatever it was asked for meanwhile
                self._pause.reset()
                continue
            except Unanswered:
                pass
            await asyncio.sleep(self._pause.longer())

    async def blocks(self, file: Cid, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        if not self._up:
            return {}
        with suppress(TimeoutError, Unanswered):
            async with asyncio.timeout(2 * BLOCKS_TIME):  # as long as those before may take
                await self._reading.acquire()
            try:
                return await self._ask(
                    lambda daemon: daemon.blocks(file, cids, self._store, BLOCKS_TIME), within=2 * BLOCKS_TIME
                )
            finally:
                self._reading.release()
        return {}

    async def keep(self, files: Collection[Cid]) -> None:
        """Where the daemon fails, the next call goes on."""
        async with self._keeping:
            if not self._up:
                return
            with suppress(Unanswered):
                for cid in self._pinned - set(files):
                    await self._unpin(cid)
                for cid in files:
                    if cid not in self._pinned and self._is_here(cid):
                        await self._add(cid)

    @property
    def _up(self) -> bool:
        return self.state.startswith("up")

    async def _unpin(self, cid: Cid) -> None:
        await self._ask(lambda daemon: daemon.unpin(str(cid)), within=CALL_TIME)
        self._note(self._pinned - {cid})

    async def _add(self, cid: Cid) -> None:
        await self._ask(lambda daemon: daemon.add(cid, self._store), within=CALL_TIME)
        self._note(self._pinned | {cid})

    def _is_here(self, cid: Cid) -> bool:
        try:
            return not self._store.missing(cid)
        except Malformed:
            return False

    def _note(self, pinned: set[Cid]) -> None:
        self._pinned = pinned
        noted = {"api": self._addr, "pins": sorted(map(str, pinned))}
        write_whole(self._pins, json.dumps(noted, indent=0).encode())

    # --- calls ---------------------------------------------------------------------------------------------

    async def _ask(self, call: Callable[[Daemon], T], within: float) -> T:
        """What `call` returns, made in a thread. Raises Unanswered; the state says then that the daemon is down."""
        if self._threads >= THREADS:
            self._fail(f"{THREADS} earlier requests are still unanswered")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: Exception | None) -> None:
            self._threads -= 1
            if answer.done():
                return
            if error is None:
                answer.set_result(value)  # type: ignore[arg-type]
            else:
                answer.set_exception(error)

        def perform() -> None:
            value, error = None, None
            try:
                with Daemon(self._addr) as daemon:
                    value = call(daemon)
            except Exception as raised:  # a border: the package also raises what its decoders trip over
                error = raised
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, value, error)

        self._threads += 1
        # A daemon thread: whatever the other side does, this process can end.
        threading.Thread(target=perform, name="kubo", daemon=True).start()
        try:
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            self._fail(f"no answer within {within:g} s")
        except Missing as missing:  # of our own store: forgotten meanwhile
            raise Unanswered from missing
        except Exception as error:
            self._fail(_plain(error))

    def _fail(self, reason: str) -> NoReturn:
        self._become(f"down: {reason}")
        self._failed.set()
        raise Unanswered(reason)

    def _become(self, state: str) -> None:
        if state != self.state:
            self.state = state
            log.info("kubo", state=state, api=self._addr)


def _noted(pins: Path, addr: str) -> set[Cid]:
    """What was pinned at this daemon. A file that cannot be read counts as none: what it named stays pinned."""
    try:
        noted = json.loads(pins.read_bytes())
        return {Cid.parse(cid) for cid in noted["pins"]} if noted["api"] == addr else set()
    except FileNotFoundError:
        return set()
    except (ValueError, KeyError, TypeError) as error:
        log.warning("kubo_pins_unreadable", file=str(pins), reason=str(error))
        return set()


def _plain(error: Exception) -> str:
    match error:
        case exceptions.ConnectionError():
            return "nothing answers there"
        case exceptions.TimeoutError():
            return "it takes too long to answer"
        case RequestException():
            return "it broke off its answer"
        case Lie():
            return str(error)
    return f"{type(error).__name__}: {str(error)[:200]}"

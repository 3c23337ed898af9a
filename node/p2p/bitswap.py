"""Bitswap 1.2.0, to and from any IPFS node. Runs in the trio thread.

A message goes on a stream that its sender has opened, answers too: Kubo waits for nothing on a stream of its own.
Whoever wants blocks is put into a queue and served from it, one message after the other, so a peer can make us hold
`MAX_WANTS` names, one message that it sends, and one that it does not read. Py-libp2p's own `libp2p.bitswap` has no
such bounds, and answers on the wrong stream.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import structlog
import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID

from deepblock.cid import DAG_PB, Cid
from deepblock.codec import Malformed
from node.p2p import wire
from node.p2p.bitswap_message import MAX_MESSAGE, MAX_WANTS, Message, Want, decode
from node.p2p.events import Blocks, Limits, PeerGone, Refused
from node.p2p.exchange import STREAM_ENDED, plain
from node.p2p.guards import Accuse
from node.p2p.muxer import Handed

log = structlog.get_logger("p2p")

PROTOCOL: Final = TProtocol("/ipfs/bitswap/1.2.0")
ANSWER_BYTES: Final = 1 << 20
"""Of blocks in one message of ours, unless one is larger."""
READ_BYTES: Final = 2 << 20
"""Of blocks that are read from the store at once."""
BURST: Final = 16
"""Times that this is done for one peer while others wait."""
LINGER: Final = 2.0
"""Seconds for which a stream of answers waits for the next want: whoever fetches a file has some every moment."""
BREATHER: Final = 0.02
"""Seconds after wants that moved no block: a peer that asks and asks for nothing costs us that much less."""
FRUITLESS: Final = 4
"""Times in a row that a peer is told what is here, and takes none of it, before there is a pause after each."""
ANSWERS: Final = 64
"""Wants that are answered at once."""
_LENGTH_BYTES: Final = 4
"""Of a message's length: up to 2^28, more than any may have."""


class Bitswap:
    """`blocks`: what others may have from here."""

    def __init__(self, host: IHost, limits: Limits, accuse: Accuse, blocks: Blocks) -> None:
        self._host = host
        self._limits = limits
        self._accuse = accuse
        self._blocks = blocks
        self._queues: dict[ID, _Queue] = {}  # of the peers that are being served
        self._serving = trio.CapacityLimiter(limits.served)
        self._turns: defaultdict[ID, Handed] = defaultdict(Handed)
        self._owed: Counter[ID] = Counter()  # blocks that a peer was asked for and may still send
        self._asking: defaultdict[ID, list[_Asking]] = defaultdict(list)

    def forget(self, peer: ID) -> None:
        """It is not connected any more. Who waits for it learns that by its silence."""
        self._queues.pop(peer, None)
        self._turns.pop(peer, None)
        self._owed.pop(peer, None)
        for asking in self._asking.pop(peer, ()):
            asking.give_up()

    # --- what comes in ---------------------------------------------------------------------------------

    async def listen(self, stream: INetStream) -> None:
        """All messages of a stream that a peer has opened."""
        peer = stream.muxed_conn.peer_id
        inbox = _Inbox(stream, self._limits.stall)
        try:
            while (body := await self._next(inbox, peer)) is not None:
                self._take(peer, decode(body))
            await stream.close()
        except (wire.Violation, Malformed) as error:
            self._accuse(peer, f"{PROTOCOL}: {error}")

    async def _next(self, inbox: "_Inbox", peer: ID) -> bytearray | None:
        """A message; None at the end of the stream. A peer's messages are read one by one: whatever it sends on
        however many streams, the rest waits in its windows, and a piece of each stream here."""
        length = await inbox.length()
        if length is None:
            return None
        if length > MAX_MESSAGE:
            raise wire.Oversized(length, MAX_MESSAGE)
        async with self._turns[peer]:
            return await inbox.read(length)

    def _take(self, peer: ID, message: Message) -> None:
        """Raises Violation for blocks that nobody asked for."""
        if not self._host.get_network().get_connections(peer):
            return  # it has just gone, and with it the count of what it owes
        self._owed[peer] -= len(message.blocks) + message.strange
        if self._owed[peer] < 0:
            raise wire.Violation("a block that was not asked for")
        for asking in self._asking.get(peer, ()):
            asking.take(message)
        if message.wants or message.full:
            self._queue(peer, message)

    # --- serving -----------------------------------------------------------------------------------------

    def _queue(self, peer: ID, message: Message) -> None:
        queue = self._queues.get(peer)
        if queue is None:
            queue = self._queues[peer] = _Queue()
            self._host.get_network().manager.run_task(self._serve, peer, queue)  # type: ignore[attr-defined]
        queue.take(message)

    async def _serve(self, peer: ID, queue: "_Queue") -> None:
        """Answers what is queued, also what is added meanwhile. A peer that reads too slowly loses its queue."""
        stream: Any = None
        done, fruitless = False, 0
        try:
            while await queue.is_filled():
                async with self._serving:
                    answers = await self._answers(queue.wants)
                    if answers:
                        stream = stream or await self._host.new_stream(peer, [PROTOCOL])
                        await self._write(stream, answers, queue)
                fruitless = 0 if any(answer.blocks for answer in answers) else fruitless + 1
                if fruitless > FRUITLESS:
                    await trio.sleep(BREATHER)
            self._drop(peer, queue)  # from here on, a want begins another task
            if stream is not None:
                await stream.close()
            done = True
        except (StreamFailure, trio.TooSlowError, *STREAM_ENDED) as error:
            log.debug("bitswap_unread", peer=str(peer), reason=plain(error))
        finally:
            self._drop(peer, queue)
            if stream is not None and not done:
                with trio.CancelScope(shield=True):
                    await stream.reset()

    async def _write(self, stream: Any, answers: list[Message], queue: "_Queue") -> None:
        """These answers, and some more: while some are written, the next are read. Then it is another peer's turn."""
        left = BURST
        while answers:
            left -= 1
            ahead: list[Message] = []
            failures: list[BaseException] = []
            async with trio.open_nursery() as both:
                both.start_soon(self._write_all, stream, answers, failures)
                if queue.wants and left > 0:
                    ahead = await self._answers(queue.wants)
            if failures:
                raise failures[0]
            answers = ahead

    async def _write_all(self, stream: Any, answers: list[Message], failures: list[BaseException]) -> None:
        try:
            for answer in answers:
                with trio.fail_after(self._limits.handler_time):
                    await wire.write(stream, answer.encode(), stall=self._limits.stall)
        except (trio.TooSlowError, *STREAM_ENDED) as error:
            failures.append(error)  # not raised: a nursery would wrap it

    def _drop(self, peer: ID, queue: "_Queue") -> None:
        if self._queues.get(peer) is queue:
            del self._queues[peer]

    async def _answers(self, queue: dict[bytes, Want]) -> list[Message]:
        """Takes as much from the queue as is read at once. What is not here is told, and not remembered: whoever still
        wants it asks again. A node that says where leaves are is given to who only asks whether it is here, as Kubo
        does with what is small: it would be wanted next."""
        wants = list(islice(queue.values(), ANSWERS))
        known = {want.cid: cid for want in wants if (cid := _known(want.cid))}
        asked = [cid for want in wants if want.have and (cid := known.get(want.cid)) and cid.codec != DAG_PB]
        wanted = [cid for want in wants if (cid := known.get(want.cid)) and cid not in asked]
        here = dict(zip(asked, await self._blocks.has(asked), strict=True)) if asked else {}
        read = await self._blocks.read(wanted, READ_BYTES) if wanted else []
        found = dict(zip(wanted, read, strict=False))
        blocks: list[tuple[Cid, bytes]] = []
        presences: list[tuple[bytes, bool]] = []
        for want in wants:
            cid = known.get(want.cid)
            if cid in wanted and cid not in found:
                continue  # for the next time
            queue.pop(want.cid, None)
            if cid and (data := found.get(cid)) is not None:
                blocks.append((cid, data))
            elif cid and here.get(cid):
                presences.append((cid, True))
            elif want.tell:
                presences.append((want.cid, False))
        messages = [Message(presences=tuple(presences))] if presences else []
        return messages + [Message(blocks=tuple(some)) for some in _portions(blocks)]

    # --- asking ------------------------------------------------------------------------------------------

    async def fetch(self, peer: str, cids: Sequence[Cid], patience: float) -> dict[Cid, bytes]:
        """What the peer has of these blocks, as far as it comes: after `patience` seconds without news it has had its
        chance. Raises PeerGone, Refused (it does not speak bitswap)."""
        id_ = ID.from_string(peer)
        asking = _Asking(cids[:MAX_WANTS])
        self._asking[id_].append(asking)
        self._owed[id_] += len(asking.waiting)
        asked = False
        try:
            with trio.move_on_after(patience):
                await self._send(id_, (Want(cid, tell=True) for cid in asking.waiting))
                asked = True
            while asked and asking.waiting and await asking.hears(patience):
                pass
            return asking.found
        finally:
            if asking in self._asking.get(id_, ()):
                self._asking[id_].remove(asking)
            if asked and asking.waiting:
                with trio.move_on_after(patience) as leaving:
                    leaving.shield = True
                    await self._cancel(id_, asking.waiting)

    async def _cancel(self, peer: ID, cids: Iterable[Cid]) -> None:
        try:
            await self._send(peer, (Want(cid, cancel=True) for cid in cids))
        except (PeerGone, Refused) as error:
            log.debug("bitswap_cancel_failed", peer=str(peer), reason=str(error))

    async def _send(self, peer: ID, wants: Iterable[Want]) -> None:
        stream: Any = None
        done = False
        try:
            stream = await self._host.new_stream(peer, [PROTOCOL])
            await wire.write(stream, Message(wants=tuple(wants)).encode(), stall=self._limits.stall)
            await stream.close()
            done = True
        except (StreamFailure, *STREAM_ENDED) as error:
            if "not supported" in plain(error):
                raise Refused(f"{peer} does not speak bitswap") from None
            raise PeerGone(f"{peer} takes no bitswap message: {plain(error)}") from error
        finally:
            if stream is not None and not done:
                with trio.CancelScope(shield=True):
                    await stream.reset()


class _Inbox:
    """What comes on one stream, read in pieces as large as they come."""

    def __init__(self, stream: Any, stall: float) -> None:
        self._stream = stream
        self._stall = stall
        self._ahead = b""

    async def length(self) -> int | None:
        """Of the next message, a varint; None at the end of the stream. The first byte may take any time."""
        if not self._ahead:
            with suppress(StreamEOF):
                self._ahead = await self._stream.read(wire.PIECE)
            if not self._ahead:
                return None
        length = 0
        for index in range(_LENGTH_BYTES):
            (byte,) = await self.read(1)
            length |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return length
        raise wire.Violation(f"a length of more than {_LENGTH_BYTES} bytes")

    async def read(self, size: int) -> bytearray:
        """Exactly so many bytes. Raises Hangup."""
        found, self._ahead = bytearray(self._ahead[:size]), self._ahead[size:]
        await self._stream.muxed_stream.gather(size - len(found))
        return await wire.read_on(self._stream, found, size, stall=self._stall)


class _Queue:
    """What one peer wants."""

    def __init__(self) -> None:
        self.wants: dict[bytes, Want] = {}
        self._news = trio.Event()

    def take(self, message: Message) -> None:
        if message.full:
            self.wants.clear()
        for want in message.wants:
            if want.cancel:
                self.wants.pop(want.cid, None)
            elif want.cid in self.wants or len(self.wants) < MAX_WANTS:
                self.wants[want.cid] = want
        self._news.set()

    async def is_filled(self) -> bool:
        """False when nothing has come for a while."""
        with trio.move_on_after(LINGER):
            while not self.wants:
                self._news = trio.Event()
                await self._news.wait()
        return bool(self.wants)


class _Asking:
    """Blocks that one peer was asked for."""

    def __init__(self, cids: Sequence[Cid]) -> None:
        self.waiting = dict.fromkeys(cids)
        self.found: dict[Cid, bytes] = {}
        self._news = trio.Event()

    async def hears(self, patience: float) -> bool:
        with trio.move_on_after(patience) as silence:
            await self._news.wait()
        self._news = trio.Event()
        return not silence.cancelled_caught

    def take(self, message: Message) -> None:
        for cid, data in message.blocks:
            if cid in self.waiting:
                del self.waiting[cid]
                self.found[cid] = data
                self._news.set()
        for name, here in message.presences:
            if not here and name in self.waiting:
                del self.waiting[Cid(name)]
                self._news.set()

    def give_up(self) -> None:
        self.waiting.clear()
        self._news.set()


def _portions(blocks: Sequence[tuple[Cid, bytes]]) -> Iterator[list[tuple[Cid, bytes]]]:
    """What goes into one message each."""
    portion: list[tuple[Cid, bytes]] = []
    size = 0
    for cid, data in blocks:
        if portion and size + len(data) > ANSWER_BYTES:
            yield portion
            portion, size = [], 0
        portion.append((cid, data))
        size += len(data)
    if portion:
        yield portion


def _known(name: bytes) -> Cid | None:
    """None for a CID of a shape that nothing here has."""
    try:
        return Cid(name)
    except ValueError:
        return None

"""Negotiating a protocol: with each other, with libp2p's own, and with who does not speak it."""

from types import SimpleNamespace

import pytest
import trio
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.protocol_muxer.exceptions import (
    MultiselectClientError,
    MultiselectError,
    ProtocolNotSupportedError,
)
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.utils import encode_delim, encode_uvarint

from node.p2p.exchange import plain
from node.p2p.negotiation import GREETING, LINE, Lines, Listener, Proposer


async def handle(stream):
    return


class End:
    """One end of a stream in memory. `step`: the most bytes that one read gives."""

    def __init__(self, step=1_000):
        self.writes, self.step, self.closed = [], step, False
        self.incoming, self.news = bytearray(), trio.Event()
        self.muxed_stream = SimpleNamespace(unread=0, peek=lambda most: bytes(self.incoming[:most]))
        self.other = self

    async def write(self, data):
        self.writes.append(data)
        self.other.give(data)

    def give(self, data):
        self.incoming += data
        self.tell()

    def close(self):
        self.closed = True
        self.tell()

    def tell(self):
        self.muxed_stream.unread = len(self.incoming)
        self.news.set()

    async def read(self, n):
        while not self.incoming:
            if self.closed:
                raise StreamEOF
            self.news = trio.Event()
            await self.news.wait()
        data = bytes(self.incoming[: min(n, self.step)])
        del self.incoming[: len(data)]
        self.tell()
        return data


def pair(step=1_000):
    ours, theirs = End(step), End(step)
    ours.other, theirs.other = theirs, ours
    return ours, theirs


async def agree(proposer, listener, protocols, step=1_000):
    """What both sides came to, and how often each of them wrote."""
    a, b = pair(step)
    found = []
    async with trio.open_nursery() as nursery:

        async def listen():
            found.append(await listener.negotiate(Lines(b), 5))

        nursery.start_soon(listen)
        proposed = await proposer.select_one_of(protocols, Lines(a), 5)
    return proposed, found[0], len(a.writes), len(b.writes)


@pytest.mark.parametrize("step", [1_000, 7])
@pytest.mark.parametrize("proposer", [Proposer, MultiselectClient])
@pytest.mark.parametrize("listener", [Listener, Multiselect])
def test_both_agree_whoever_wrote_their_programs(proposer, listener, step):
    result = trio.run(agree, proposer(), listener({"/one": handle}), ["/one"], step)
    assert result[:2] == ("/one", ("/one", handle))


def test_each_of_ours_writes_once():
    assert trio.run(agree, Proposer(), Listener({"/one": handle}), ["/one"])[2:] == (1, 1)


def test_of_several_the_first_that_is_known():
    result = trio.run(agree, Proposer(), Listener({"/two": handle}), ["/one", "/two"])
    assert result[:2] == ("/two", ("/two", handle))


def said_to(negotiate, *data, close=True):
    """The error that follows when the other side says just this."""

    async def run():
        end, other = pair()
        for piece in data:
            end.give(piece)
        if close:
            end.close()
        await negotiate(Lines(end))
        return other

    return trio.run(run)


def proposing(communicator):
    return Proposer().select_one_of(["/one"], communicator, 1)


def listening(communicator):
    return Listener({"/one": handle}).negotiate(communicator, 1)


def test_what_is_not_known_is_refused_in_the_words_that_the_door_looks_for():
    with pytest.raises(ProtocolNotSupportedError, match="/one is not supported"):
        said_to(proposing, GREETING + encode_delim(b"na"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n" * 2, "does not speak"),
        (GREETING[:7], "no answer to /one"),
        (GREETING, "no answer to /one"),
        (GREETING + encode_delim(b"/other"), "'/other' in answer to /one"),
        (GREETING + b"\x05/one?", "no answer to /one"),
        (GREETING + encode_delim(b"\xff\xfe"), "no answer to /one"),
    ],
)
def test_who_says_something_else_is_an_error(data, reason):
    with pytest.raises(MultiselectClientError, match=reason):
        said_to(proposing, data)
    with pytest.raises(MultiselectError):
        said_to(listening, data)


@pytest.mark.parametrize("protocols", [["/one"], ["/one", "/two"]])
def test_a_line_that_is_too_long_is_refused_before_it_has_come(protocols):
    data = GREETING + encode_uvarint(LINE + 1) + b"x"
    with pytest.raises(MultiselectClientError, match="1024"):
        said_to(lambda lines: Proposer().select_one_of(protocols, lines, 1), data, close=False)
    with pytest.raises(MultiselectError, match="1024"):
        said_to(listening, data, close=False)


def test_an_error_does_not_quote_what_a_stranger_wrote():
    with pytest.raises(MultiselectClientError) as raised:
        said_to(proposing, GREETING + encode_uvarint(LINE) + b"x" * LINE)
    assert len(plain(raised.value)) < 100


@pytest.mark.parametrize("data", [b"", GREETING])
def test_who_says_no_more_is_not_waited_for_for_ever(data):
    with pytest.raises(MultiselectClientError, match="within 1 s"):
        said_to(proposing, data, close=False)
    with pytest.raises(MultiselectError, match="within 1 s"):
        said_to(listening, data, close=False)


def test_a_listener_greets_who_waits_for_it_and_hears_another_proposal_after_a_refusal():
    async def run():
        end, other = pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listening, Lines(other))
            await end.write(GREETING)
            assert await end.read(100) == GREETING
            await end.write(encode_delim(b"/two"))
            assert await end.read(100) == encode_delim(b"na")
            await end.write(encode_delim(b"/one"))
            assert await end.read(100) == encode_delim(b"/one")

    trio.run(run)

"""Which files this node keeps, and which go first when there is no room."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as joined
from itertools import count, takewhile

from consensus.fork_choice import Switch
from consensus.task import specs
from deepblock.cid import Cid
from deepblock.spec.task import data_files
from deepblock.types import Seal
from node.chain import Chain
from node.ipfs.pins import Pins
from node.retention import MILESTONE, MODELS
from node.shares import Shares


@dataclass(frozen=True, slots=True)
class Kept:
    """`needed`: what a live audit, a session or a promise needs; it is never collected. `useful`: what is kept while
    there is room, in the order in which it goes."""

    needed: frozenset[Cid]
    useful: tuple[Cid, ...]


class Policy:
    """What the chain needs now, what this node mined, and what it was asked to keep."""

    def __init__(self, chain: Chain, shares: Shares, pins: Pins) -> None:
        self._chain = chain
        self._shares = shares
        self._pins = pins
        self._made: dict[Cid, tuple[Cid, Cid]] = {}  # block → its average and its model
        self._audited: dict[Cid, tuple[Cid, ...]] = {}  # live block → what its audit reads

    def follow(self, _: Switch) -> None:
        """A new head: its body is still at hand. Later it would be decoded again."""
        self._live()

    def kept(self) -> Kept:
        needed = frozenset(self._needed())
        useful = dict.fromkeys(self._useful())
        return Kept(needed, tuple(file for file in useful if file not in needed))

    def _needed(self) -> Iterator[Cid]:
        chain, state = self._chain, self._chain.state()
        yield from self._pins.of("asked")
        open_ = [listed.task for listed in state.open_tasks().items]
        for task in (*specs(chain.params), *open_):
            yield from data_files(chain.specs[task])
        yield from self._start_models()
        yield from joined.from_iterable(self._live().values())
        for known in self._shares.known():
            yield from _files(known.share.seal)
        if session := chain.saved_session():
            yield from session.states

    def _live(self) -> dict[Cid, tuple[Cid, ...]]:
        """The blocks that may still be audited, of every branch, with what their audits read. Each body is decoded
        once: a look at the last 64 full ones would stop the node for seconds."""
        at_height = self._chain.tree.at_height
        heights = count(max(1, self._chain.head.height - self._chain.params.finality + 1))
        blocks = joined.from_iterable(
            at_height[height] for height in takewhile(at_height.__contains__, heights)
        )
        self._audited = {at: self._audited.get(at) or self._read_by_audits(at) for at in blocks}
        return self._audited

    def _read_by_audits(self, at: Cid) -> tuple[Cid, ...]:
        """A block's files, and those of the shares that it carries."""
        block = self._chain.block(at)
        assert block is not None, f"no block {at}"
        body = self._chain.body(block)
        shares = body.shares if body else ()
        return (
            *_files(block.seal),
            block.result.model,
            *joined.from_iterable(_files(share.seal) for share in shares),
        )

    def _start_models(self) -> Iterator[Cid]:
        """Where sessions start from, now and in the oldest block that may still be audited."""
        oldest = self._chain.id_at(max(0, self._chain.head.height - self._chain.params.finality))
        for state in (self._chain.state(oldest), self._chain.state()):
            for task in self._chain.specs:
                if model := state.task(task).model:
                    yield model

    def _useful(self) -> Iterator[Cid]:
        head = self._chain.head.height
        window = max(1, head - MODELS + 1)
        yield from self._pins.of("mined")
        for height in (*range(MILESTONE, window, MILESTONE), *range(window, head + 1)):
            if at := self._chain.id_at(height):
                yield from self._models(at)

    def _models(self, at: Cid) -> tuple[Cid, ...]:
        if at not in self._made:
            block = self._chain.block(at)
            assert block is not None, f"no block {at}"
            self._made[at] = block.seal.average, block.result.model
        return self._made[at]


def _files(seal: Seal) -> tuple[Cid, ...]:
    return (*seal.states, seal.average)

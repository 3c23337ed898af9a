"""Blocks that turn out false after they were taken (protocol: Audit and fraud).

One node's sample may miss a forged step that another's hits. The other says which step it is, everybody redoes that
one, and the block goes with all that stand on it. Who accuses falsely is banned by whoever redid the step.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import ClassVar, Final

import structlog

from consensus.audit import RESULT, step_name
from consensus.errors import Fraud, Invalid
from deepblock.types import Block
from node.auditor import AuditFailed, Auditor, DataMissing
from node.chain import Chain
from node.messages import Accusation
from node.pipeline import Pipeline
from node.proofs import Proofs

log = structlog.get_logger("frauds")

IDLE_PAUSE: Final = 1.0
"""Seconds between two looks for something to replay."""
CHUNK: Final = 4
"""Segments replayed at a time while idle."""
MINERS_SHARE: Final = 0.25
"""Of a mining node's time, at most, that idle audits take: what pays is its sessions."""


@dataclass(eq=False)
class FalseAccusation(Invalid):
    step: str
    block: str
    text: ClassVar[str] = "accuses block {block} of a false {step}, which is true"


def draw_missed(
    recent: Iterable[tuple[Block, Collection[int]]], rng: Random
) -> tuple[Block, tuple[int, ...]] | None:
    """A block of the `recent` ones, each with those of its segments that are replayed already, and some of the others,
    ascending; None where all are.

    The block is one of those with the fewest replayed, by chance. Who takes the newest never comes back to what a
    change of the head has brought late, and there is too little time for all. The segments too are drawn by chance:
    who goes in order comes last to the last but one, and that is the cheapest to forge.
    """
    some = [(block, replayed) for block, replayed in recent if len(replayed) < len(block.seal.states)]
    if not some:
        return None
    fewest = min(len(replayed) for _, replayed in some)
    block, done = rng.choice([one for one in some if len(one[1]) == fewest])
    missed = [segment for segment in range(1, len(block.seal.states) + 1) if segment not in done]
    return block, tuple(sorted(rng.sample(missed, min(CHUNK, len(missed)))))


class Frauds:
    """Judges accusations, and looks for frauds itself when there is nothing else to audit."""

    def __init__(self, chain: Chain, auditor: Auditor, pipeline: Pipeline, proofs: Proofs) -> None:
        self._chain = chain
        self._proofs = proofs
        self._auditor = auditor
        self._pipeline = pipeline
        self._unreplayable: set[bytes] = set()
        self._rng = SystemRandom()  # nobody else can foresee it

    async def receive(self, accusation: Accusation, accuser: str) -> None:
        """By gossip. One of a block that is not in the tree is nobody's business. Raises FalseAccusation,
        DataMissing, AuditFailed."""
        block = self._chain.block(accusation.block) if self._chain.node(accusation.block) else None
        if block is None or not block.height:
            return
        name = step_name(len(block.seal.states), accusation.step)
        if name is None:
            raise FalseAccusation(f"step {accusation.step}", str(block.id))
        try:
            await self._redo(block, accusation.step, name, accuser)
        except Fraud as fraud:
            await self._pipeline.disprove(block, fraud)
            return
        raise FalseAccusation(name, str(block.id))

    async def _redo(self, block: Block, step: int, name: str, source: str | None) -> None:
        if name == RESULT:
            body = self._chain.body(block)
            assert body is not None, f"no body of {block.id}"
            await self._auditor.audit_result(block, body, source)
        else:
            segments = len(block.seal.states)
            await self._auditor.audit_segments(block, (min(step, segments),), source)

    # --- idle audits ---------------------------------------------------------------------------------------

    async def run(self, ready: asyncio.Event, mining: bool) -> None:
        """For ever, while the node is caught up: accusations of shares, shares that nobody heard of, then what no
        sample has hit."""
        while True:
            await ready.wait()
            began = time.monotonic()
            if not await self._proofs.look() and not await self._replay_some():
                await asyncio.sleep(IDLE_PAUSE)
                continue
            spent = time.monotonic() - began
            await asyncio.sleep(spent * (1 / MINERS_SHARE - 1) if mining else 0.0)

    async def _replay_some(self) -> bool:
        if (found := self._next()) is None:
            return False
        block, segments = found
        try:
            await self._auditor.audit_segments(block, segments)
        except Fraud as fraud:
            await self._pipeline.disprove(block, fraud)
        except (DataMissing, AuditFailed) as error:
            self._unreplayable.add(block.id)
            log.info("not_replayed", height=block.height, block=str(block.id), reason=str(error))
        return True

    def progress(self) -> tuple[int, int]:
        """Of the last blocks of the chain: how many this node has replayed whole, and how many there are."""
        blocks = list(self._recent())
        whole = sum(len(self._auditor.replayed(b.header.cid)) == len(b.seal.states) for b in blocks)
        return whole, len(blocks)

    def _next(self) -> tuple[Block, tuple[int, ...]] | None:
        """A recent block and segments of it that this node has not replayed."""
        replayable = (block for block in self._recent() if block.id not in self._unreplayable)
        return draw_missed(
            ((block, self._auditor.replayed(block.header.cid)) for block in replayable), self._rng
        )

    def _recent(self) -> Iterator[Block]:
        """The blocks above the finality depth, newest first."""
        node = self._chain.head
        for _ in range(min(node.height, self._chain.params.finality)):
            if block := self._chain.block(node.id):
                yield block
            node = self._chain.tree.nodes[node.parent]

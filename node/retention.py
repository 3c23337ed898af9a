"""What is forgotten, and when (protocol: Audit and fraud): states of sessions are served for `finality` blocks, the
models of the last 1,024 blocks and of every 64th older one."""

from collections.abc import Callable
from typing import Final

from consensus.fork_choice import Switch
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.primitives import Address
from deepblock.types import Block
from node.chain import Chain
from node.ipfs.pins import Pins

MODELS: Final = 1024
"""Blocks whose models are all kept."""
MILESTONE: Final = 64
"""Of older blocks, those whose height is a multiple keep theirs."""


class Window:
    """The last `size` blocks; what falls out of it is forgotten, once."""

    def __init__(self, chain: Chain, size: int, forget: Callable[[Block], None]) -> None:
        self._chain = chain
        self._size = size
        self._forget = forget
        self._next = max(1, chain.head.height - size)

    def move(self) -> None:
        while self._next <= self._chain.head.height - self._size:
            for cid in self._chain.tree.at_height.get(self._next, ()):
                if block := self._chain.block(cid):
                    self._forget(block)
            self._next += 1


class Retention:
    """Removes files from the block store as the head moves on, but what is pinned. `own`: whose models are pinned in
    place of being forgotten."""

    def __init__(self, chain: Chain, blobs: Blockstore, pins: Pins, own: Address) -> None:
        self._chain = chain
        self._blobs = blobs
        self._pins = pins
        self._own = own
        self._states = Window(chain, chain.params.finality, self._forget_states)
        self._models = Window(chain, MODELS, self._forget_model)

    def follow(self, switch: Switch) -> None:
        """After every change of the head."""
        self._states.move()
        self._models.move()

    def _forget_states(self, block: Block) -> None:
        """Who trained or audited a session has its last state, and who has not has none: most blocks cost one look."""
        if not self._blobs.has(block.seal.states[-1]):
            return
        for state in block.seal.states:
            self._forget(state)

    def _forget_model(self, block: Block) -> None:
        """Unless the task's model is still this one: at a plateau an average serves for longer than any window."""
        average, current = block.seal.average, self._chain.state().task(block.header.task).model
        if average == current:
            return
        if block.header.miner == self._own:
            self._pins.add(average, "mined")
        elif block.height % MILESTONE:
            self._forget(average, current)

    def _forget(self, file: Cid, current: Cid | None = None) -> None:
        """But for the blocks that it shares with the current model, such as frozen layers, and with pinned files."""
        if file not in self._pins:
            others = (*self._pins.of("asked"), *((current,) if current else ()))
            self._blobs.remove(file, but={block for other in others for block in self._blobs.tree(other)})

"""Chains in memory, of blocks and shares whose training nobody did: every rule but the audit takes them."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from consensus.difficulty import cost
from consensus.ensemble import required_result
from consensus.fork_choice import BlockTree, Node
from consensus.params import Params
from consensus.seal import gate, limit, ticket
from consensus.shares import Below, Past
from consensus.state import State
from consensus.state_tree import update
from consensus.template import candidate, genesis, genesis_state
from consensus.transition import apply_block, check_block, check_chained
from deepblock.cid import Cid
from deepblock.primitives import Address
from deepblock.state_proof import EMPTY
from deepblock.types import Block, Body, Header, Score, Seal, Share
from tests.unit.consensus.parts import GUESSING, NOBODY, PARAMS, named


class Line:
    """A tree of blocks, and the state after each. `begin`: what else is in the state after the genesis."""

    def __init__(self, params: Params = PARAMS, begin: Callable[[State], None] = lambda state: None) -> None:
        self.params = params
        first, state = genesis(params), State(lambda key: None)
        genesis_state(params, state)
        begin(state)
        changes = state.delta().new
        root, self._trie = update(EMPTY, changes, lambda name: b"")
        header = first.header
        node = Node(first.id, header.parent, 0, header.timestamp, header.difficulty, 0, root)
        self.tree = BlockTree(node, params.finality)
        self.values = {first.id: {key: value for key, value in changes.items() if value is not None}}
        self.blocks: dict[Cid, tuple[Block, Body]] = {}
        self.network = self.head = first.id
        self._nonces = count()

    def state(self, after: Cid | None = None) -> State:
        return State(self.values[after or self.head].get)

    def past(self, parent: Cid) -> Past:
        near, node = [parent], self.tree.nodes[parent]
        while len(near) < self.params.share_age and node.height:
            node = self.tree.nodes[node.parent]
            near.append(node.id)
        return lambda block: self.below(block) if block in near else None

    def below(self, parent: Cid) -> Below:
        return Below(self.tree.ancestry(parent, self.params.median_window), self.state(parent))

    # --- made ------------------------------------------------------------------------------------------------

    def header(
        self,
        parent: Cid | None = None,
        body: Body = Body(),  # noqa: B008
        miner: Address = NOBODY,
        seconds: int | None = None,
        **changes: object,
    ) -> Header:
        """What an honest miner would start from, `seconds` after the parent, and then `changes`."""
        below = self.below(parent or self.head)
        now = below.ancestry.timestamps[0] + (self.params.block_time if seconds is None else seconds)
        task, nonce = below.state.schedule().current, next(self._nonces)
        made = candidate(self.params, self.network, below.ancestry, body.cid, miner, nonce, now, task)
        return replace(made, **changes)

    def seal(self, header: Header, loss: int, wins: Callable[[int], bool]) -> Seal:
        """Of states made up, one of which is changed until the ticket `wins`."""
        spec = self.state(header.parent).known_spec(self.params, header.task)
        states = [named(f"{header.cid}/{segment}") for segment in range(spec.segments)]
        for attempt in count():
            states[-1] = named(f"{header.cid}/last/{attempt}")
            seal = Seal(tuple(states), named(f"{header.cid}/average"), Score(loss, 5))
            if wins(ticket(header, seal)):
                return seal
        raise AssertionError

    def share(self, parent: Cid | None = None, loss: int = GUESSING, **choices: object) -> Share:
        """A session whose ticket wins a share, and no block."""
        header = self.header(parent, **choices)
        spec = self.state(header.parent).known_spec(self.params, header.task)
        blocks, shares = (
            limit(header.difficulty, 16, cost(self.params, spec), ratio)
            for ratio in (1, self.params.share_ratio)
        )
        return Share(header, self.seal(header, loss, lambda drawn: blocks <= drawn < shares))

    def block(self, body: Body = Body(), loss: int = GUESSING, **choices: object) -> Block:  # noqa: B008
        """A block that wins, with the result that follows from one member."""
        header = self.header(body=body, **choices)
        state = self.state(header.parent)
        spec, task = state.known_spec(self.params, header.task), state.task(header.task)
        bound = limit(header.difficulty, gate(spec, task, loss), cost(self.params, spec))
        seal = self.seal(header, loss, lambda drawn: drawn < bound)
        return Block(header, seal, required_result(seal, task))

    # --- taken -----------------------------------------------------------------------------------------------

    def check(self, block: Block, body: Body, now: int | None = None) -> State:
        """The state after a block that every rule takes, but nothing is kept. Raises RuleError."""
        parent = block.header.parent
        now = block.header.timestamp if now is None else now
        below = self.below(parent)
        check_block(self.params, self.network, block, lambda task: self.state(parent).spec(self.params, task))
        check_chained(self.params, self.network, block, below.ancestry, below.state, now)
        state = self.state(parent)
        apply_block(self.params, state, block, body, self.past(parent))
        return state

    def take(self, block: Block, body: Body) -> Block:
        """Checks a block and makes it the head."""
        parent, changes = block.header.parent, self.check(block, body).delta().new
        root, fresh = update(self.tree.nodes[parent].state_root, changes, self._trie.__getitem__)
        self._trie |= fresh
        self.tree.add(self.tree.child(block, root))
        merged = {**self.values[parent], **changes}
        self.values[block.id] = {key: value for key, value in merged.items() if value is not None}
        self.blocks[block.id] = (block, body)
        self.head = block.id
        return block

    def grow(self, body: Body = Body(), **choices: object) -> Block:  # noqa: B008
        """A block on the head (or `parent`), checked and taken."""
        return self.take(self.block(body, **choices), body)

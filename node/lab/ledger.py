"""What all simulated nodes would compute alike, computed once: verdicts of rules are pure, so they are kept by id.

Whether a node *has* a block, when it hears of it and what its audit draws is its own affair (`peer`).
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from consensus import shares as share_rules
from consensus.audit import Findings
from consensus.ensemble import members, required_result
from consensus.errors import Invalid, RuleError
from consensus.fork_choice import BlockTree, Node
from consensus.market import pending
from consensus.params import Params
from consensus.shares import Below, Past
from consensus.state import State
from consensus.state_tree import update
from consensus.task import TaskState
from consensus.template import genesis, genesis_state
from consensus.transaction import apply_transaction
from consensus.transition import apply_block, check_block, check_chained
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.state_proof import EMPTY
from deepblock.transactions import FraudProof, Transaction
from deepblock.types import Block, Body, Header, Result, Seal, Share
from node.lab import training


@dataclass(frozen=True, slots=True)
class Entry:
    """A block that the rules take, with the state after it."""

    block: Block
    body: Body
    values: Mapping[bytes, bytes]


class Ledger:
    """Every block that anybody made and the rules take, whether its training is true or not."""

    def __init__(self, params: Params) -> None:
        self.params = params
        first, state = genesis(params), State(lambda key: None)
        genesis_state(params, state)
        changes = state.delta().new
        root, self._nodes = update(EMPTY, changes, lambda name: b"")
        header = first.header
        node = Node(first.id, header.parent, 0, header.timestamp, header.difficulty, 0, root)
        self.tree = BlockTree(node, params.finality)
        values = {key: value for key, value in changes.items() if value is not None}
        self.entries = {first.id: Entry(first, Body(), values)}
        self.network = first.id
        self.losses: dict[Cid, int] = {}
        """Of averages: the true one of those that follow from their session, else what a seal claims."""
        self._verdicts: dict[Cid, RuleError | None] = {}
        self._share_verdicts: dict[Cid, RuleError | None] = {}
        self._findings: dict[Cid, Findings] = {}
        self.below = functools.cache(self._below)
        self.near = functools.cache(self._near)
        self.lately = functools.cache(self._lately)
        self.task = functools.cache(self._task)
        self.spec = functools.cache(self._spec)
        self.current = functools.cache(self._current)
        self.pending = functools.cache(self._pending)
        self._ready: dict[tuple[Cid, ...], tuple[Transaction, ...]] = {}
        self._bodies: dict[tuple[Cid, ...], Body] = {}

    # --- what is known of a block -------------------------------------------------------------------------

    def state(self, after: Cid) -> State:
        return State(self.entries[after].values.get)

    def past(self, parent: Cid) -> Past:
        return lambda block: self.below(block) if block in self.near(parent) else None

    def _below(self, block: Cid) -> Below:
        return Below(self.tree.ancestry(block, self.params.median_window), self.state(block))

    def _near(self, parent: Cid) -> frozenset[Cid]:
        """The blocks that shares of a child of `parent` may stand on."""
        node, near = self.tree.nodes[parent], [parent]
        while len(near) < self.params.share_age and node.height:
            node = self.tree.nodes[node.parent]
            near.append(node.id)
        return frozenset(near)

    def _lately(self, parent: Cid) -> frozenset[Cid]:
        """The sessions that a child of `parent` cannot carry."""
        height = self.tree.nodes[parent].height + 1
        return frozenset(share_rules.lately(self.params, self.state(parent), height))

    def _task(self, parent: Cid, task: Cid) -> TaskState:
        return self.state(parent).task(task)

    def _spec(self, parent: Cid, task: Cid) -> TaskSpec:
        return self.state(parent).known_spec(self.params, task)

    def _current(self, parent: Cid) -> Cid:
        """The task that is scheduled for a child of `parent`."""
        return self.state(parent).schedule().current

    def _pending(self, parent: Cid) -> tuple[Cid, ...]:
        """The tasks that a child of `parent` can signal."""
        return tuple(pending(self.state(parent))[: self.params.max_signals])

    def body(
        self, transactions: tuple[Transaction, ...], shares: tuple[Share, ...], signals: tuple[Cid, ...]
    ) -> Body:
        """One object for all who would make the same, so that its CID is computed once."""
        key = (*(one.id for one in transactions), *(one.id for one in shares), *signals)
        if key not in self._bodies:
            self._bodies[key] = Body(transactions, shares, signals)
        return self._bodies[key]

    def ready(self, parent: Cid, pool: list[Transaction]) -> tuple[Transaction, ...]:
        """Those of the pool that a child of `parent` can hold, in their order."""
        key = (parent, *(transaction.id for transaction in pool))
        if key not in self._ready:
            self._ready[key] = tuple(self._applicable(parent, pool))
        return self._ready[key]

    def _applicable(self, parent: Cid, pool: list[Transaction]) -> Iterator[Transaction]:
        state, height = self.state(parent), self.tree.nodes[parent].height + 1
        for transaction in pool:
            try:
                apply_transaction(self.params, state, height, transaction)
            except Invalid:
                continue
            yield transaction

    # --- verdicts -----------------------------------------------------------------------------------------

    def judge(self, block: Block, body: Body) -> RuleError | None:
        """What every rule but the audit and the local clock says; the block's parent is in `entries`."""
        if block.id not in self._verdicts:
            try:
                self._take(block, body)
                self._verdicts[block.id] = None
            except Invalid as error:
                self._verdicts[block.id] = error
        return self._verdicts[block.id]

    def judge_share(self, share: Share) -> RuleError | None:
        """What the rules say of a share by itself and on its parent, which is in `entries`."""
        if share.id not in self._share_verdicts:
            below, now = self.below(share.header.parent), share.header.timestamp
            try:
                share_rules.check_share(
                    self.params, self.network, share, functools.partial(self._known, below)
                )
                share_rules.check_share_chained(
                    self.params, self.network, share, below.ancestry, below.state, now
                )
                self._share_verdicts[share.id] = None
            except Invalid as error:
                self._share_verdicts[share.id] = error
        return self._share_verdicts[share.id]

    def _known(self, below: Below, task: Cid) -> TaskSpec | None:
        return below.state.spec(self.params, task)

    def _take(self, block: Block, body: Body) -> None:
        params, parent = self.params, block.header.parent
        below = self.below(parent)
        check_block(params, self.network, block, functools.partial(self._known, below))
        check_chained(params, self.network, block, below.ancestry, below.state, block.header.timestamp)
        state = self.state(parent)
        apply_block(params, state, block, body, self.past(parent))
        changes = state.delta().new
        root, fresh = update(self.tree.nodes[parent].state_root, changes, self._nodes.__getitem__)
        self._nodes |= fresh
        self.tree.add(self.tree.child(block, root))
        merged = {**self.entries[parent].values, **changes}
        values = {key: value for key, value in merged.items() if value is not None}
        self.entries[block.id] = Entry(block, body, values)

    # --- what a replay would give --------------------------------------------------------------------------

    def findings(self, header: Header, seal: Seal, key: Cid) -> Findings:
        """Of every segment of a session. `key`: the id of its block or share."""
        if key not in self._findings:
            spec, task = self.spec(header.parent, header.task), self.task(header.parent, header.task)
            found = self._findings[key] = training.findings(header, spec, task, seal)
            self.losses[found.average] = found.score.loss
        return self._findings[key]

    def result(self, header: Header, seal: Seal, body: Body) -> tuple[Result, tuple[Result, ...]]:
        """The model that a block has to name, and the candidates that follow from its members."""
        own = Block(header, seal, Result(seal.average, seal.score))
        self.losses.setdefault(seal.average, seal.score.loss)
        for share in body.shares:
            self.findings(share.header, share.seal, share.id)
            self.losses.setdefault(share.seal.average, share.seal.score.loss)
        averages = [member.seal.average for member in members(own, body)]
        derived = tuple(
            training.combine(averages[:size], self.losses) for size in range(2, len(averages) + 1)
        )
        return required_result(seal, self.task(header.parent, header.task), derived), derived

    def carried(self, parent: Cid, proof: FraudProof) -> Share | None:
        """The share that a proof in a child of `parent` accuses."""
        node = self.tree.nodes[parent]
        while node.height > proof.height:
            node = self.tree.nodes[node.parent]
        return next((share for share in self.entries[node.id].body.shares if share.id == proof.share), None)

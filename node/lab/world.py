"""Time, chance and the network: a queue of events, one random generator, messages that take a while or get lost."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from consensus.params import Params
from deepblock.cid import Cid
from deepblock.primitives import DBK, Hash32
from deepblock.spec import Linear, TaskSpec
from deepblock.transactions import Transaction
from node.lab.ledger import Ledger
from node.lab.training import named

if TYPE_CHECKING:
    from node.lab.honest import Honest
    from node.lab.peer import Peer

SPEC: Final = TaskSpec(
    name="lab",
    input_shape=(4,),
    input_zero=0,
    input_span=16,
    classes=3,
    layers=(Linear(3),),
    init_seed=Hash32(bytes(32)),
    train=named(b"train"),
    heldout=named(b"heldout"),
    n_train=4096,
    n_heldout=10,
    segments=12,
    steps=40,
    batch=4,
    lr_high=1 << 29,
    lr_low=1 << 27,
    momentum=0,
    decay=0,
    bits=8,
)
"""What the network trains; twelve segments, the last and three others of which an audit draws."""

PARAMS: Final = Params(
    name="lab",
    genesis_time=1_000_000_000,
    base_tasks=(SPEC, replace(SPEC, name="lab 2")),
    block_time=60,
    difficulty_half_life=600,
    share_ratio=4,
    epoch=16,
    fallback_after=8,
    subsidy=50 * DBK,
    halving=2_100_000,
    maturity=16,
    fee_per_byte=10,
    max_transactions=2_000,
    max_shares=8,
    share_age=6,
    max_signals=8,
    max_body=512 << 10,
    max_future=120,
    median_window=11,
    audit_segments=3,
    finality=32,
    min_train=1_024,
    max_task_cost=4,
    max_open_tasks=64,
    pending_blocks=1_024,
    signal_window=16,
    signals_needed=12,
    plateau=64,
)
"""As the testnet's, but for what would make short runs say nothing: rewards mature after 16 blocks, and no
reorganisation is deeper than 32."""

SESSIONS: Final = 24
"""That the whole network finishes in a block time."""
DELAY: Final = (0.05, 2.0)
"""Seconds that a message takes."""
LOSS: Final = 0.02
"""Of messages, the part that never arrives."""


@dataclass(slots=True)
class World:
    """`rng`: the only source of chance, so a run repeats exactly. `pool`: transactions, which everybody
    hears of. `withheld`: blocks whose states are not to be had."""

    seed: int
    params: Params = PARAMS
    now: float = float(PARAMS.genesis_time)
    peers: "list[Honest]" = field(default_factory=list)
    pool: list[Transaction] = field(default_factory=list)
    withheld: set[Cid] = field(default_factory=set)
    rng: Random = field(init=False)
    ledger: Ledger = field(init=False)
    _events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    _count: int = 0
    _sides: dict[int, int] | None = None

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.ledger = Ledger(self.params)

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, act, arguments))

    def step(self) -> None:
        """The next event. There always is one, as nodes never rest."""
        self.now, _, act, arguments = heapq.heappop(self._events)
        act(*arguments)

    # --- the network ---------------------------------------------------------------------------------------

    def send(self, sender: "Peer", to: "Peer", message: str, *content: Any) -> None:
        """Calls `to.hear_MESSAGE(sender, …)` after a while, unless the message is lost."""
        if self.rng.random() >= LOSS and self._connected(sender, to):
            self.after(self.rng.uniform(*DELAY), self._deliver, sender, to, message, content)

    def broadcast(self, sender: "Peer", message: str, *content: Any) -> None:
        for peer in self.peers:
            if peer is not sender:
                self.send(sender, peer, message, *content)

    def _deliver(self, sender: "Peer", to: "Peer", message: str, content: tuple[Any, ...]) -> None:
        if not to.down and self._connected(sender, to):
            getattr(to, f"hear_{message}")(sender, *content)

    def _connected(self, one: "Peer", other: "Peer") -> bool:
        return self._sides is None or self._sides[one.number] == self._sides[other.number]

    def split(self) -> None:
        """Two halves, by chance, that hear nothing of each other."""
        self._sides = {peer.number: self.rng.getrandbits(1) for peer in self.peers}

    def heal(self) -> None:
        """One network again; everybody tells everybody where it stands."""
        self._sides = None
        for peer in self.peers:
            peer.announce()

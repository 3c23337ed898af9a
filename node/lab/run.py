"""One run: a network, what befalls it, and what everybody has earned at its end."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

from deepblock.primitives import DBK, Address
from deepblock.transactions import Transfer
from node.lab import invariants
from node.lab.catalogue import STRATEGIES
from node.lab.honest import FEE, Honest
from node.lab.world import SESSIONS, SPEC, World

PAYMENTS: Final = 3
"""Block times between two payments; …"""
FAT: Final = 8
"""… one in so many leaves a fee that is worth a block."""
PARTITION: Final = 6
"""Block times that the network is split for."""
LONGEST: Final = 4
"""A run is given up after so many times the time that its blocks should take."""


@dataclass(frozen=True, slots=True)
class Setup:
    """`power`: the part of all work that the attackers do."""

    strategy: str
    seed: int
    nodes: int = 20
    blocks: int = 500
    power: float = 0.3


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run. `work`: segments trained, `reward`: motes, each of honest nodes and of attackers. `made`: blocks that
    the rules took, true or not. `sessions`: finished ones, `used`: those that ended up on the chain. `audited`:
    segments that honest nodes replayed."""

    setup: Setup
    height: int
    made: int
    sessions: int
    used: int
    work: tuple[float, float]
    reward: tuple[int, int]
    audited: int
    problems: tuple[str, ...]

    @property
    def work_share(self) -> float:
        """Of the honest nodes."""
        return self.work[0] / sum(self.work)

    @property
    def reward_share(self) -> float:
        return self.reward[0] / max(1, sum(self.reward))

    @property
    def shown(self) -> dict[str, Any]:
        return {**asdict(self), "work_share": self.work_share, "reward_share": self.reward_share}


def run(setup: Setup) -> Outcome:
    """Plays it to the end: until the honest nodes, once there are enough blocks, agree on one head."""
    world = World(setup.seed)
    gang = populate(world, setup)
    honest = [peer for peer in world.peers if type(peer) is Honest]
    _disasters(world, setup, honest)
    end = world.now + LONGEST * setup.blocks * world.params.block_time
    while world.now < end and not _settled(honest, setup.blocks):
        world.step()
    for peer in world.peers:
        peer.stop()
    head = honest[0].tree.head.id
    earned = invariants.earnings(world.ledger, head)
    return Outcome(
        setup,
        honest[0].tree.head.height,
        len(world.ledger.entries) - 1,
        sum(peer.finished for peer in world.peers),
        invariants.sessions_used(world.ledger, head),
        (sum(peer.work for peer in honest), sum(peer.work for peer in gang)),
        (_earned(earned, honest), _earned(earned, gang)),
        sum(peer.audited for peer in honest),
        tuple(invariants.problems(world.ledger, [peer.tree for peer in honest], world.now < end)),
    )


def populate(world: World, setup: Setup) -> list[Honest]:
    """Nodes of unlike power; of them the attackers, whose power together is what was asked for; they are returned."""
    strategy = STRATEGIES[setup.strategy]
    count = max(1, min(setup.nodes - 1, round(setup.nodes * setup.power)))
    kinds = [strategy] * count + [Honest] * (setup.nodes - count)
    if setup.strategy == "honest":  # a group of its own, to compare the others with
        kinds[:count] = [type("HonestGroup", (Honest,), {})] * count
    if strategy.company:
        kinds[-1] = STRATEGIES[strategy.company]
    weights = [world.rng.uniform(0.8, 1.25) for _ in kinds]
    whole = SESSIONS * SPEC.segments / world.params.block_time
    gang: list[Honest] = []
    for number, kind in enumerate(kinds):
        group = slice(count) if number < count else slice(count, None)
        part = setup.power if number < count else 1 - setup.power
        power = whole * part * weights[number] / sum(weights[group])
        world.peers.append(kind(world, number, power, gang if number < count else []))
    gang += world.peers[:count]
    for peer in world.peers:
        peer.mine()
        world.after(world.rng.uniform(0, world.params.block_time), peer.gossip_head)
    return gang


def _earned(earned: Counter[Address], peers: list[Honest]) -> int:
    return sum(earned[peer.address] for peer in peers)


def _disasters(world: World, setup: Setup, honest: list[Honest]) -> None:
    """A partition, two power cuts, and payments all the time."""
    whole = setup.blocks * world.params.block_time
    start = world.rng.uniform(0.2, 0.6) * whole
    world.after(start, world.split)
    world.after(start + PARTITION * world.params.block_time, world.heal)
    for victim in world.rng.sample(honest, min(2, len(honest) - 1)):
        world.after(world.rng.uniform(0.1, 0.8) * whole, victim.crash, 3.0 * world.params.block_time)
    world.after(PAYMENTS * world.params.block_time, _pay, world, honest)


def _pay(world: World, honest: list[Honest]) -> None:
    """Somebody who has money sends some, now and then for a fat fee."""
    world.after(PAYMENTS * world.params.block_time, _pay, world, honest)
    payer, receiver = world.rng.sample(honest, 2)
    state = world.ledger.state(payer.tree.head.id)
    fat = world.rng.randrange(FAT) == 0
    account = state.account(payer.address)
    world.pool[:] = [
        tx for tx in world.pool if tx.payload.nonce >= state.account(tx.payload.sender.address).nonce
    ]
    fee = 50 * DBK if fat else FEE
    if account.balance >= fee + DBK and all(tx.payload.sender != payer.key for tx in world.pool):
        payload = Transfer(world.ledger.network, payer.key, account.nonce, fee, receiver.address, DBK)
        world.pool.append(payer.wallet.sign(payload))


def _settled(honest: list[Honest], blocks: int) -> bool:
    if honest[0].tree.head.height < blocks:
        return False
    return len({peer.tree.head.id for peer in honest if not peer.down}) == 1

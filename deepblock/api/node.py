"""The node itself: how far it is, what it holds, who is there, what it trains."""

from dataclasses import dataclass
from datetime import timedelta

from deepblock.cid import Cid
from deepblock.codec import U128
from deepblock.primitives import Address, Motes


@dataclass(frozen=True, slots=True)
class Sync:
    """`state`: starting (no peer has answered yet), headers (somebody claims a heavier chain), blocks (it is being
    taken), synced, or alone (no peer). `target`: the height of the chain that is being taken, as its peer tells;
    `percent`: of it, that is here; `eta`: seconds until all of it is, null where that is not known."""

    state: str
    height: int
    target: int
    percent: float
    eta: float | None

    @property
    def progress(self) -> str:
        """'blocks 1,204/2,000, 60%, 0:00:07 left'; only the state where there is nothing to catch up with."""
        if self.height >= self.target:
            return self.state
        left = "" if self.eta is None else f", {timedelta(seconds=round(self.eta))} left"
        return f"{self.state} {self.height:,}/{self.target:,}, {self.percent:.0f}%{left}"


@dataclass(frozen=True, slots=True)
class IpfsInfo:
    """A way into IPFS. `name`: 'embedded' (this node itself) or 'kubo' (a daemon). `state`: 'off', 'up' and with whom,
    or 'down: ' and why."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a node was asked to keep. `stored`: bytes of all files in its block store at the last look, and `quota`: how
    many there may be before what nobody needs is removed."""

    files: tuple[Cid, ...]
    stored: int
    quota: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """`network`: the genesis's CID, which transactions name. `addrs`: multiaddrs for `--bootstrap`. `reachability`:
    whether others can connect to this node, as they say: 'unknown', 'reachable' or 'not reachable'.
    `block_time`: seconds; `maturity`: blocks until a reward can be spent; `pending`: transactions in the
    pool. `min_train`: the fewest training examples of a task, `max_session_macs`: what its sessions may cost, and
    `base_session_macs`: what they count at most. `audit`: what the node replays of others' training, a sample, all or
    nothing ('headers'); `replayed`: of the last `replayable` blocks, how many it has replayed whole. `ipfs`: its ways
    into IPFS."""

    version: str
    network_name: str
    network: Cid
    peer_id: str
    addrs: tuple[str, ...]
    reachability: str
    peers: int
    sync: Sync
    pending: int
    block_time: int
    maturity: int
    fee_per_byte: Motes
    min_train: int
    max_session_macs: U128
    base_session_macs: U128
    audit: str
    replayed: int
    replayable: int
    ipfs: tuple[IpfsInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """What the daemon holds, without its workers: what grows here without end is a leak. `uptime`: seconds; `memory`:
    bytes in RAM; `files`: open, sockets among them; `tasks`: of asyncio; `p2p_tasks`: of the libp2p thread."""

    uptime: float
    memory: int
    files: int
    threads: int
    tasks: int
    p2p_tasks: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer that is connected now, or remembered for what it did.

    `direction`: who dialled, "in" or "out", and `connected`: seconds, both None where it is not connected.
    `score`: penalty points left, `reason`: of the last ones; `banned_until`: Unix seconds.
    """

    id: str
    addr: str | None
    direction: str | None
    connected: float | None
    score: float
    reason: str | None
    banned_until: float | None


@dataclass(frozen=True, slots=True)
class MinerInfo:
    """The session under way (None and zeros without one), and what came of those before it. `height`: of
    the block it may become; `step` of `steps` and `segment` of `segments` are done; `last_loss`: the loss
    sum of the last session that ended."""

    mining: bool
    address: Address
    height: int | None
    task: Cid | None
    segment: int
    segments: int
    step: int
    steps: int
    sessions: int
    blocks: int
    last_loss: int | None

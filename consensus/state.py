"""The state of a chain: typed access to a key-value map, and what a block changes in it.

| key                        | value                                                         |
|----------------------------|---------------------------------------------------------------|
| 'a' ‖ address (20)         | Account                                                       |
| 't' ‖ task CID (36)        | TaskState                                                     |
| 'k' ‖ task CID (36)        | TaskSpec of a sponsored task, for ever                        |
| 'o'                        | OpenTasks                                                     |
| 'e'                        | Schedule                                                      |
| 'p' ‖ height (8, big-end.) | Payouts that can be spent from that height                    |
| 'c' ‖ height (8, big-end.) | Sessions that the block at that height put on the chain       |
| 's'                        | Supply                                                        |
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from consensus.params import Params
from consensus.task import OpenTasks, Schedule, TaskState, specs
from deepblock.cid import Cid
from deepblock.codec import decode, encode
from deepblock.primitives import Address, Motes
from deepblock.spec import TaskSpec
from deepblock.state_proof import account_key
from deepblock.types import Account

Read = Callable[[bytes], bytes | None]
"""A value of the state by its key; None where there is none."""

T = TypeVar("T")
SPECS: Final = b"k"
"""Begins the keys of descriptions."""
_SUPPLY: Final = b"s"
_OPEN_TASKS: Final = b"o"
_SCHEDULE: Final = b"e"


@dataclass(frozen=True, slots=True)
class Payout:
    """`share`: the id of the carried share that it is paid for, the carrier's part too; None: what is not in doubt."""

    address: Address
    amount: Motes
    share: Cid | None = None


@dataclass(frozen=True, slots=True)
class Payouts:
    """Rewards that mature together."""

    items: tuple[Payout, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """One that is on the chain. `share`: under which id it is carried; None of a block's own."""

    header: Cid
    share: Cid | None = None


@dataclass(frozen=True, slots=True)
class Sessions:
    """A block's own, and those of the shares that it carries."""

    items: tuple[Session, ...] = ()

    @property
    def headers(self) -> tuple[Cid, ...]:
        return tuple(session.header for session in self.items)


@dataclass(frozen=True, slots=True)
class Supply:
    """`issued`: motes minted since the genesis, mature or not."""

    issued: Motes = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One key's value after and before a block; None: no such key."""

    key: bytes
    new: bytes | None
    old: bytes | None


@dataclass(frozen=True, slots=True)
class Delta:
    """What a block changed: enough to apply it, and to undo it."""

    changes: tuple[Change, ...]

    @property
    def new(self) -> dict[bytes, bytes | None]:
        return {change.key: change.new for change in self.changes}

    @property
    def old(self) -> dict[bytes, bytes | None]:
        return {change.key: change.old for change in self.changes}


def task_key(task: Cid) -> bytes:
    return b"t" + task


def spec_key(task: Cid) -> bytes:
    return SPECS + task


def payouts_key(height: int) -> bytes:
    return b"p" + height.to_bytes(8, "big")


def sessions_key(height: int) -> bytes:
    return b"c" + height.to_bytes(8, "big")


@dataclass(slots=True)
class State:
    """A state being changed: what was read or written is kept here, each value decoded once, and encoded when somebody
    takes the `delta`."""

    read: Read
    _old: dict[bytes, bytes | None] = field(default_factory=dict)
    _now: dict[bytes, Any] = field(default_factory=dict)

    def _get(self, key: bytes, cls: type[T]) -> T | None:
        if key not in self._now:
            data = self._old[key] = self.read(key)
            self._now[key] = None if data is None else decode(cls, data)
        return self._now[key]  # type: ignore[no-any-return]

    def _put(self, key: bytes, value: object) -> None:
        """None: no such key."""
        if key not in self._old:
            self._old[key] = self.read(key)
        self._now[key] = value

    def account(self, address: Address) -> Account:
        return self._get(account_key(address), Account) or Account()

    def set_account(self, address: Address, account: Account) -> None:
        self._put(account_key(address), account)

    def deposit(self, address: Address, amount: int) -> None:
        """`amount` motes more on an account."""
        account = self.account(address)
        self.set_account(address, Account(account.balance + amount, account.nonce))

    def task(self, task: Cid) -> TaskState:
        return self._get(task_key(task), TaskState) or TaskState()

    def set_task(self, task: Cid, value: TaskState) -> None:
        self._put(task_key(task), value)

    def spec(self, params: Params, task: Cid) -> TaskSpec | None:
        """The description of a base task, or of one that was ever opened on this chain."""
        return specs(params).get(task) or self._get(spec_key(task), TaskSpec)

    def known_spec(self, params: Params, task: Cid) -> TaskSpec:
        """The same, of a task that must be on this chain."""
        spec = self.spec(params, task)
        assert spec is not None, f"no description of {task}"
        return spec

    def set_spec(self, task: Cid, spec: TaskSpec) -> None:
        self._put(spec_key(task), spec)

    def open_tasks(self) -> OpenTasks:
        return self._get(_OPEN_TASKS, OpenTasks) or OpenTasks()

    def set_open_tasks(self, tasks: OpenTasks) -> None:
        self._put(_OPEN_TASKS, tasks if tasks.items else None)

    def schedule(self) -> Schedule:
        schedule = self._get(_SCHEDULE, Schedule)
        assert schedule is not None, "a state after the genesis has a schedule"
        return schedule

    def set_schedule(self, schedule: Schedule) -> None:
        self._put(_SCHEDULE, schedule)

    def payouts(self, height: int) -> Payouts:
        return self._get(payouts_key(height), Payouts) or Payouts()

    def set_payouts(self, height: int, payouts: Payouts) -> None:
        self._put(payouts_key(height), payouts if payouts.items else None)

    def sessions(self, height: int) -> Sessions:
        return self._get(sessions_key(height), Sessions) or Sessions()

    def set_sessions(self, height: int, sessions: Sessions) -> None:
        self._put(sessions_key(height), sessions if sessions.headers else None)

    def supply(self) -> Supply:
        return self._get(_SUPPLY, Supply) or Supply()

    def set_supply(self, supply: Supply) -> None:
        self._put(_SUPPLY, supply)

    def delta(self) -> Delta:
        """What has changed so far; keys that came back to their old value are left out."""
        encoded = (
            (key, None if self._now[key] is None else encode(self._now[key])) for key in sorted(self._now)
        )
        return Delta(tuple(Change(key, new, self._old[key]) for key, new in encoded if new != self._old[key]))

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
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from consensus.params import Params
from consensus.task import OpenTasks, Schedule, TaskState, specs
from deepblock.cid import Cid
from deepblock.codec import decode, encode
from deepblock.primitives import Address, Motes
from deepblock.spec import TaskSpec
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
class Sessions:
    """CIDs of headers: a block's own, and those of the shares that it carries."""

    headers: tuple[Cid, ...] = ()


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


def account_key(address: Address) -> bytes:
    return b"a" + address


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
    """A state being changed: reads go through, writes are kept here until somebody takes the `delta`."""

    read: Read
    _new: dict[bytes, bytes | None] = field(default_factory=dict)
    _old: dict[bytes, bytes | None] = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        return self._new[key] if key in self._new else self.read(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        if key not in self._old:
            self._old[key] = self.read(key)
        self._new[key] = value

    def _load(self, key: bytes, default: T) -> T:
        value = self.get(key)
        return default if value is None else decode(type(default), value)

    def account(self, address: Address) -> Account:
        return self._load(account_key(address), Account())

    def set_account(self, address: Address, account: Account) -> None:
        self.put(account_key(address), encode(account))

    def deposit(self, address: Address, amount: int) -> None:
        """`amount` motes more on an account."""
        account = self.account(address)
        self.set_account(address, replace(account, balance=account.balance + amount))

    def task(self, task: Cid) -> TaskState:
        return self._load(task_key(task), TaskState())

    def set_task(self, task: Cid, value: TaskState) -> None:
        self.put(task_key(task), encode(value))

    def spec(self, params: Params, task: Cid) -> TaskSpec | None:
        """The description of a base task, or of one that was ever opened on this chain."""
        if base := specs(params).get(task):
            return base
        value = self.get(spec_key(task))
        return None if value is None else decode(TaskSpec, value)

    def known_spec(self, params: Params, task: Cid) -> TaskSpec:
        """The same, of a task that must be on this chain."""
        spec = self.spec(params, task)
        assert spec is not None, f"no description of {task}"
        return spec

    def set_spec(self, task: Cid, spec: TaskSpec) -> None:
        self.put(spec_key(task), encode(spec))

    def open_tasks(self) -> OpenTasks:
        return self._load(_OPEN_TASKS, OpenTasks())

    def set_open_tasks(self, tasks: OpenTasks) -> None:
        self.put(_OPEN_TASKS, encode(tasks) if tasks.items else None)

    def schedule(self) -> Schedule:
        value = self.get(_SCHEDULE)
        assert value is not None, "a state after the genesis has a schedule"
        return decode(Schedule, value)

    def set_schedule(self, schedule: Schedule) -> None:
        self.put(_SCHEDULE, encode(schedule))

    def payouts(self, height: int) -> Payouts:
        return self._load(payouts_key(height), Payouts())

    def set_payouts(self, height: int, payouts: Payouts) -> None:
        self.put(payouts_key(height), encode(payouts) if payouts.items else None)

    def sessions(self, height: int) -> Sessions:
        return self._load(sessions_key(height), Sessions())

    def set_sessions(self, height: int, sessions: Sessions) -> None:
        self.put(sessions_key(height), encode(sessions) if sessions.headers else None)

    def supply(self) -> Supply:
        return self._load(_SUPPLY, Supply())

    def set_supply(self, supply: Supply) -> None:
        self.put(_SUPPLY, encode(supply))

    def delta(self) -> Delta:
        """What has changed so far; keys that came back to their old value are left out."""
        return Delta(
            tuple(
                Change(key, value, self._old[key])
                for key, value in sorted(self._new.items())
                if value != self._old[key]
            )
        )

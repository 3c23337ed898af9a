"""Why a block or a transaction is not accepted. Each error carries its numbers.

    RuleError
    ├── NotYet                 nobody is to blame; try again later
    │   ├── ParentUnknown
    │   ├── TaskUnknown
    │   └── FromTheFuture
    └── Invalid                will never be valid; whoever sent it is to blame
        ├── InvalidHeader      WrongVersion WrongNetwork WrongHeight WrongStateRoot TooEarly WrongDifficulty
        │                      TaskNotScheduled
        ├── InvalidSeal        WrongStateCount RepeatedState TicketMissed
        ├── InvalidBody        WrongBody TooMany BodyTooLarge RepeatedTransaction FalseShare RepeatedSignal NotPending
        ├── InvalidShare       ShareTooOld ShareOfAnotherChain ShareFromTheFuture ShareRepeated
        ├── InvalidTransaction WrongTransactionNetwork BadSignature WrongNonce FeeTooLow CannotPay AmountTooLarge
        │                      SpecTooLarge SpecRefused TaskTooExpensive PayTooLow EscrowTooLow
        │                      TaskExists TooManyTasks TaskNotOpen NotTheSponsor NothingToBurn
        ├── InvalidResult      WorseResult WrongResult
        └── Fraud              a claim about the training that a replay contradicts

Rules do not know peers: which error costs a peer what is the node's business.
"""

from dataclasses import dataclass
from typing import ClassVar

from deepblock.amounts import format_dbk
from deepblock.cid import Cid
from deepblock.primitives import Address, Hash32


class RuleError(Exception):
    """A rule says no. `text` is filled with the fields; those named in `amounts` hold motes, shown as DBK."""

    text: ClassVar[str]
    amounts: ClassVar[frozenset[str]] = frozenset()

    def __str__(self) -> str:
        shown = {name: format_dbk(v) if name in self.amounts else v for name, v in vars(self).items()}
        return self.text.format(**shown)


class NotYet(RuleError):
    """Cannot be judged now."""


class Invalid(RuleError):
    """Breaks a rule."""


@dataclass(eq=False)
class ParentUnknown(NotYet):
    parent: Cid
    text = "the parent {parent} is not known"


@dataclass(eq=False)
class FromTheFuture(NotYet):
    timestamp: int
    now: int
    limit: int
    text = "timestamp {timestamp} is more than {limit} s ahead of this clock ({now})"


@dataclass(eq=False)
class TaskUnknown(NotYet):
    task: Cid
    text = "task {task} is not known here: it may have been opened in a block that has not come yet"


class InvalidHeader(Invalid):
    """The header does not fit its parent."""


@dataclass(eq=False)
class WrongVersion(InvalidHeader):
    found: int
    required: int
    text = "version {found} in place of {required}"


@dataclass(eq=False)
class WrongNetwork(InvalidHeader):
    found: Cid
    required: Cid
    text = "made for network {found}, this is {required}"


@dataclass(eq=False)
class WrongHeight(InvalidHeader):
    found: int
    required: int
    text = "height {found} on a parent that requires {required}"


@dataclass(eq=False)
class WrongStateRoot(InvalidHeader):
    found: Hash32
    required: Hash32
    text = "state root {found}, but after the parent it is {required}"


@dataclass(eq=False)
class TooEarly(InvalidHeader):
    timestamp: int
    median: int
    text = "timestamp {timestamp} is not later than the median of the last blocks, {median}"


@dataclass(eq=False)
class WrongDifficulty(InvalidHeader):
    found: int
    required: int
    text = "difficulty {found}, but the rule gives {required}"


@dataclass(eq=False)
class TaskNotScheduled(InvalidHeader):
    found: Cid
    required: Cid
    text = "trains task {found}, but {required} is scheduled"


class InvalidSeal(Invalid):
    """The seal wins nothing."""


@dataclass(eq=False)
class WrongStateCount(InvalidSeal):
    found: int
    required: int
    text = "{found} states, but a session of this task has {required}"


class RepeatedState(InvalidSeal):
    text = "two segments end in the same state; the session is void"


@dataclass(eq=False)
class TicketMissed(InvalidSeal):
    ticket: int
    limit: int
    text = "ticket {ticket:#x} is not below {limit:#x}"


class InvalidBody(Invalid):
    """The body cannot belong to this header."""


@dataclass(eq=False)
class WrongBody(InvalidBody):
    found: Cid
    required: Cid
    text = "body {found} in place of {required}"


@dataclass(eq=False)
class TooMany(InvalidBody):
    what: str
    found: int
    limit: int
    text = "{found} {what}, at most {limit}"


@dataclass(eq=False)
class BodyTooLarge(InvalidBody):
    found: int
    limit: int
    text = "a body of {found} bytes, at most {limit}"


@dataclass(eq=False)
class RepeatedTransaction(InvalidBody):
    transaction: Cid
    text = "transaction {transaction} occurs twice"


@dataclass(eq=False)
class RepeatedSignal(InvalidBody):
    task: Cid
    text = "task {task} is signalled twice"


@dataclass(eq=False)
class NotPending(InvalidBody):
    task: Cid
    text = "task {task} is signalled, but does not wait for signals"


@dataclass(eq=False)
class FalseShare(InvalidBody):
    share: Cid
    reason: str
    text = "share {share} cannot be carried: {reason}"


class InvalidShare(Invalid):
    """A session that this block cannot carry. (What is wrong with its header or seal is said as of a block's.)"""


@dataclass(eq=False)
class ShareTooOld(InvalidShare):
    height: int
    carrier: int
    limit: int
    text = "it is of height {height}, and a block at {carrier} carries those of its own height and {limit} before"


@dataclass(eq=False)
class ShareOfAnotherChain(InvalidShare):
    parent: Cid
    text = "its parent {parent} is not on the carrier's chain"


@dataclass(eq=False)
class ShareFromTheFuture(InvalidShare):
    timestamp: int
    carrier: int
    limit: int
    text = "timestamp {timestamp} is more than {limit} s later than its carrier's, {carrier}"


@dataclass(eq=False)
class ShareRepeated(InvalidShare):
    header: Cid
    text = "the session of header {header} is on this chain already"


class InvalidTransaction(Invalid):
    """The transaction cannot be applied to this state."""


@dataclass(eq=False)
class WrongTransactionNetwork(InvalidTransaction):
    found: Cid
    required: Cid
    text = "the transaction is for network {found}, this is {required}"


class BadSignature(InvalidTransaction):
    text = "the signature is not the sender's over this transaction"


@dataclass(eq=False)
class WrongNonce(InvalidTransaction):
    found: int
    required: int
    sender: Address
    text = "nonce {found}, but the next of {sender} is {required}"


@dataclass(eq=False)
class FeeTooLow(InvalidTransaction):
    found: int
    required: int
    amounts = frozenset({"found", "required"})
    text = "a fee of {found} DBK, at least {required} DBK for its size"


@dataclass(eq=False)
class AmountTooLarge(InvalidTransaction):
    total: int
    amounts = frozenset({"total"})
    text = "amount and fee together, {total} DBK, exceed what can exist"


@dataclass(eq=False)
class CannotPay(InvalidTransaction):
    sender: Address
    balance: int
    required: int
    amounts = frozenset({"balance", "required"})
    text = "{sender} can spend {balance} DBK, the transaction needs {required} DBK"


@dataclass(eq=False)
class SpecTooLarge(InvalidTransaction):
    found: int
    limit: int
    text = "a description of {found} bytes, at most {limit}"


@dataclass(eq=False)
class SpecRefused(InvalidTransaction):
    reason: str
    text = "the description is not of a task that can be trained: {reason}"


@dataclass(eq=False)
class TaskTooExpensive(InvalidTransaction):
    found: int
    limit: int
    text = (
        "a session costs {found} MACs, at most {limit} on this network: shorten it, or make the model smaller"
    )


@dataclass(eq=False)
class PayTooLow(InvalidTransaction):
    found: int
    required: int
    amounts = frozenset({"found", "required"})
    text = "a pay of {found} DBK a block, but it takes the place of the subsidy: at least {required} DBK"


@dataclass(eq=False)
class EscrowTooLow(InvalidTransaction):
    found: int
    required: int
    amounts = frozenset({"found", "required"})
    text = "an escrow of {found} DBK, but an epoch of this pay costs {required} DBK"


@dataclass(eq=False)
class TaskExists(InvalidTransaction):
    task: Cid
    text = "task {task} is or was on this chain: another name or seed makes it another task"


@dataclass(eq=False)
class TooManyTasks(InvalidTransaction):
    waiting: int
    text = "{waiting} tasks are open, and none that waits for signals pays less per MAC: offer more, or try later"


@dataclass(eq=False)
class TaskNotOpen(InvalidTransaction):
    task: Cid
    text = "task {task} is no open task of a sponsor, or is about to close"


@dataclass(eq=False)
class NotTheSponsor(InvalidTransaction):
    task: Cid
    sponsor: Address
    text = "task {task} can only be ended by who opened it, {sponsor}"


@dataclass(eq=False)
class NothingToBurn(InvalidTransaction):
    share: Cid
    height: int
    text = "no reward of share {share}, carried at height {height}, waits: it is paid, burned, or never was"


class InvalidResult(Invalid):
    """Not the model that the rule of the least loss gives."""


@dataclass(eq=False)
class WorseResult(InvalidResult):
    found: int
    limit: int
    text = "the block names a model with a loss of {found}, though one with {limit} is known"


@dataclass(eq=False)
class WrongResult(InvalidResult):
    found: Cid
    required: Cid
    text = "the block names the model {found}, the rule of the least loss gives {required} (or its score differs)"


@dataclass(eq=False)
class Fraud(Invalid):
    """`step`: 'segment 7', 'average', 'score', 'result', 'average of …' or 'accusation of …'; the others say what was
    claimed and what a replay gave."""

    step: str
    claimed: str
    found: str
    text = "false {step}: the block claims {claimed}, the replay gives {found}"

"""Every key of the chain's database. A key is a prefix of one byte and what follows it.

| prefix | followed by             | value                                    | order                    |
|--------|-------------------------|------------------------------------------|--------------------------|
| 'm'    | name                    | 'format', 'network', 'head', 'session'   |                          |
| 'b'    | block id (36)           | Block                                    | by id                    |
| 'd'    | body CID (36)           | Body                                     | by CID                   |
| 'n'    | height (8), block id    | Node: place and weight in the tree       | by height: parents first |
| 'u'    | block id                | Delta: what the block changed, to undo it| by id                    |
| 'h'    | height (8)              | block id, on the head's chain            | by height                |
| 'x'    | transaction id (36)     | Location, on the head's chain            | by id                    |
| 's'    | state key               | value in the state after the head        | by `consensus.state` key |
| 't'    | hash (32)               | node of a state tree, any block's        | by hash                  |
| 'r'    | block id                | why the block was rejected, UTF-8        | by id                    |
| 'k'    | task id (36)            | TaskSpec, of any block's task            | by id                    |
| 'p'    | file CID (36)           | why it is kept: 'asked' or 'mined'       | by CID                   |

Integers in keys are big-endian, so that LevelDB's order is theirs. Values are canonical DAG-CBOR where a class is
named. 'h', 'x', 's' and head change together, in one synced batch with the block that moves the head.
"""

from dataclasses import dataclass
from typing import Final

from deepblock.cid import Cid
from deepblock.codec import U32
from deepblock.types import Body, Header

FORMAT: Final = b"1"
"""Of this schema. A database of another format is refused, with a sentence."""

META_FORMAT: Final = b"mformat"
META_NETWORK: Final = b"mnetwork"
META_HEAD: Final = b"mhead"
META_SESSION: Final = b"msession"

BLOCK: Final = b"b"
BODY: Final = b"d"
NODE: Final = b"n"
UNDO: Final = b"u"
HEIGHT: Final = b"h"
TRANSACTION: Final = b"x"
STATE: Final = b"s"
TREE: Final = b"t"
REJECTED: Final = b"r"
SPEC: Final = b"k"
PIN: Final = b"p"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a transaction stands."""

    block: Cid
    index: U32


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The session being trained: enough to go on after a crash. `states`: of the finished segments."""

    header: Header
    body: Body
    states: tuple[Cid, ...] = ()


def height_key(height: int) -> bytes:
    return HEIGHT + height.to_bytes(8, "big")


def node_key(height: int, block: Cid) -> bytes:
    return NODE + height.to_bytes(8, "big") + block

"""What a node answers over JSON-RPC. One definition is the node's answer, its schema and what the client
returns.

In JSON: CIDs are base32, addresses bech32m, amounts decimal strings of motes, difficulties and weights
decimal strings of MACs with 16 fractional bits, times Unix seconds.
"""

from typing import Final

from deepblock.api.chain import (
    AccountInfo,
    BlockInfo,
    Head,
    HeaderInfo,
    SessionInfo,
    StateProof,
    TransactionInfo,
)
from deepblock.api.node import Health, IpfsInfo, MinerInfo, NodeInfo, Peer, Pinned, Sync
from deepblock.api.scores import HeldOut
from deepblock.api.tasks import (
    ContractInfo,
    LineageEntry,
    ModelInfo,
    Quote,
    TaskInfo,
    TaskStatus,
    TaskSummary,
)

DEFAULT_URL: Final = "http://127.0.0.1:8645"
"""Where a node listens unless it is told otherwise."""

MAX_HEADERS: Final = 256
"""Headers in one answer."""

MAX_LINEAGE: Final = 256
"""Blocks of a model's lineage in one answer."""

REFUSED: Final = -32000
"""Error code: a rule refuses what was sent. `data` names the rule and carries its fields, as text."""

NOT_FOUND: Final = -32001
"""Error code: this node does not know what was asked for."""

__all__ = [
    "DEFAULT_URL",
    "MAX_HEADERS",
    "MAX_LINEAGE",
    "NOT_FOUND",
    "REFUSED",
    "AccountInfo",
    "BlockInfo",
    "ContractInfo",
    "Head",
    "HeaderInfo",
    "Health",
    "HeldOut",
    "IpfsInfo",
    "LineageEntry",
    "MinerInfo",
    "ModelInfo",
    "NodeInfo",
    "Peer",
    "Pinned",
    "Quote",
    "SessionInfo",
    "StateProof",
    "Sync",
    "TaskInfo",
    "TaskStatus",
    "TaskSummary",
    "TransactionInfo",
]

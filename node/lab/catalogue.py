"""The strategies by name."""

from typing import Final

from node.lab import forgers, strategies
from node.lab.honest import Honest

STRATEGIES: Final[dict[str, type[Honest]]] = {
    "honest": Honest,
    "thief": forgers.Thief,
    "faker-first": forgers.FakerOfFirst,
    "faker-last-but-one": forgers.FakerOfLastButOne,
    "faker-last": forgers.FakerOfLast,
    "grinder": forgers.Grinder,
    "early-aborter": strategies.EarlyAborter,
    "gluer": forgers.Gluer,
    "fee-sniper": strategies.FeeSniper,
    "hoarder": strategies.Hoarder,
    "withholder": strategies.Withholder,
    "selfish-miner": strategies.SelfishMiner,
    "share-spammer": forgers.ShareSpammer,
    "false-accuser": strategies.FalseAccuser,
    "timestamp-liar": strategies.TimestampLiar,
    "sponsor": strategies.Sponsor,
    "lazy-validator": strategies.LazyValidator,
}

UNBOUNDED: Final = frozenset({"selfish-miner"})
"""What no rule here stops above some power; reported, and not held to the bound."""

"""Many runs of a strategy, as numbers and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev
from typing import Final

from node.lab.catalogue import STRATEGIES, UNBOUNDED
from node.lab.run import Outcome

TOLERANCE: Final = 0.02
"""How far the honest share of reward may lie below the honest share of work."""
SIGMAS: Final = 3
"""Standard errors that few or short runs may be off by chance."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Of all runs of a strategy. `gap`: honest share of reward less honest share of work, its mean and its standard
    error; `ratio`: what the attackers earned for a unit of work, honest nodes' earnings being 1; `used`: of finished
    sessions, those on the chain; `audits`: segments that honest nodes replayed, for each that they trained."""

    strategy: str
    runs: int
    work: float
    reward: float
    gap: float
    error: float
    ratio: float
    used: float
    orphans: float
    audits: float
    problems: tuple[str, ...]

    @property
    def wins(self) -> bool:
        """Beyond what chance explains, where the rules promise a bound."""
        return self.strategy not in UNBOUNDED and self.gap + SIGMAS * self.error < -TOLERANCE


def summarise(strategy: str, outcomes: Sequence[Outcome]) -> Summary:
    """Of at least one run of it."""
    gaps = [outcome.reward_share - outcome.work_share for outcome in outcomes]
    work, reward = (
        [sum(getattr(o, name)[i] for o in outcomes) for i in (0, 1)] for name in ("work", "reward")
    )
    share = reward[0] / max(1, sum(reward))
    return Summary(
        strategy,
        len(outcomes),
        work[0] / sum(work),
        share,
        mean(gaps),
        stdev(gaps) / sqrt(len(gaps)) if len(gaps) > 1 else 0.0,
        (reward[1] / work[1]) / (reward[0] / work[0]),
        sum(o.used for o in outcomes) / sum(o.sessions for o in outcomes),
        1 - sum(o.height for o in outcomes) / sum(o.made for o in outcomes),
        sum(o.audited for o in outcomes) / work[0],
        tuple(f"seed {o.setup.seed}: {problem}" for o in outcomes for problem in o.problems),
    )


def table(summaries: Sequence[Summary]) -> str:
    """A line a strategy, and below it what went wrong."""
    width = max(map(len, STRATEGIES))
    heads = ("runs", "work", "reward", "gap", "±", "earned", "used", "orphans", "audits")
    lines = [f"{'strategy':{width}}" + "".join(f"{head:>9}" for head in heads)]
    for one in summaries:
        lines.append(
            f"{one.strategy:{width}}{one.runs:9}{one.work:9.1%}{one.reward:9.1%}{100 * one.gap:+9.1f}"
            f"{100 * one.error:9.1f}{one.ratio:9.2f}{one.used:9.0%}{one.orphans:9.0%}{one.audits:9.2f}"
        )
    lines += [f"{one.strategy}: {problem}" for one in summaries for problem in one.problems]
    lines += [f"{one.strategy} earns more than its work: honest nodes lack {-100 * one.gap:.1f} points of reward"
              for one in summaries if one.wins]  # fmt: skip
    return "\n".join(lines)


LEGEND: Final = (
    "work, reward: the honest nodes' share; gap: the one less the other, in points, with its standard error; earned: "
    "what the\nattackers got for a unit of work, if an honest node got 1; used: sessions that ended up on the chain; "
    "orphans: blocks\nthat did not; audits: segments that honest nodes replayed for each that they trained."
)

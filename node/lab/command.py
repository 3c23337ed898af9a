"""`deepblock lab`. What the networks need is loaded when it runs, so that other commands start as fast as before."""

import argparse
import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

from deepblock.commands.context import CommandError, Context, progress


def register(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Called by `deepblock` through its entry points."""
    command = add("lab", lab, "play networks with attackers in them, and show what attacking earns")
    command.add_argument("strategies", nargs="*", metavar="STRATEGY", help="by default all, in turn")
    command.add_argument("--list", action="store_true", help="the strategies, and what stops each")
    command.add_argument("--runs", type=_positive, default=17, metavar="N", help="in all; by default 17")
    command.add_argument("--nodes", type=_positive, default=20, metavar="N", help="by default 20")
    command.add_argument(
        "--blocks", type=_positive, default=100, metavar="N", help="of a run; by default 100"
    )
    command.add_argument(
        "--power", type=_part, default=0.3, metavar="PART", help="the attackers'; by default 0.3"
    )
    command.add_argument("--seed", type=int, default=1, metavar="N", help="of the first run; by default 1")
    command.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes; by default 1")


def lab(context: Context, options: argparse.Namespace) -> int:
    """A table at the end; in JSON a line for each run when it is over. The exit status is 1 where an invariant broke or
    a strategy earned more than its work."""
    from node.lab.catalogue import STRATEGIES
    from node.lab.report import LEGEND, summarise, table
    from node.lab.run import Setup

    if options.list:
        text = "\n".join(f"{name:20}{_about(kind)}." for name, kind in STRATEGIES.items())
        context.show(list(STRATEGIES), text)
        return 0
    names = options.strategies or list(STRATEGIES)
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise CommandError(f"there is no strategy {unknown[0]!r}; `deepblock lab --list` shows all")
    if options.nodes < 4:
        raise CommandError(f"--nodes is {options.nodes}; a network of fewer than 4 shows nothing")
    setups = [
        Setup(names[i % len(names)], options.seed + i, options.nodes, options.blocks, options.power)
        for i in range(options.runs)
    ]
    outcomes = []
    for outcome in _play(setups, options.jobs):
        outcomes.append(outcome)
        if context.as_json:
            print(json.dumps(outcome.shown), flush=True)
        progress(f"{len(outcomes)} of {len(setups)} runs, {outcome.setup.strategy}")
    progress("")
    played = [name for name in names if any(one.setup.strategy == name for one in outcomes)]
    summaries = [
        summarise(name, [one for one in outcomes if one.setup.strategy == name])
        for name in dict.fromkeys(played)
    ]
    if not context.as_json:
        print(f"{table(summaries)}\n\n{LEGEND}")
    return int(any(one.wins or one.problems for one in summaries))


def _about(kind: type[Any]) -> str:
    """What a strategy does: the first sentence of its class; and what is against it."""
    does = " ".join((kind.__doc__ or "").split()).split(". ")[0].rstrip(".")
    return f"{does}. Against it: {kind.stopped_by}" if kind.stopped_by else "Keeps to the rules"


def _play(setups: list[Any], jobs: int) -> Iterator[Any]:
    """The outcomes, in the order of the setups, each as soon as it is there."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_run, setups) if jobs > 1 else map(_run, setups)


def _run(setup: Any) -> Any:
    """A run keeps nearly all that it makes, and to look for garbage meanwhile takes a quarter of its time."""
    from node.lab.run import run

    gc.disable()
    try:
        return run(setup)
    finally:
        gc.enable()
        gc.collect()


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = 0.0
    if not 0 < part < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return part

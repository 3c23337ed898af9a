"""Where the time of a training step goes: exact and plain, by what torch's operations, and our kernels, are for."""

from collections.abc import Callable, Iterator
from cProfile import Profile
from dataclasses import replace
from pathlib import Path
from pstats import Stats

import torch
from torch.profiler import ProfilerActivity, profile

from deepblock import streams
from deepblock.exact.compiled.kernel import KERNELS
from deepblock.training.examples import load_examples
from deepblock.training.state import CPU, Work, derive_state
from deepblock.training.step import Trainer
from tests.bench.plain import PlainLoop
from tests.bench.steps import SEED
from tests.bench.table import Row
from tests.bench.tasks import TITLES, with_data
from tests.session_vectors import Memory

KINDS = {
    "products": ("mm", "addmm", "convolution", "attention"),
    "pooling": ("pool",),
    "other passes": ("",),
}
"""What an operation is for, by a part of its name, and a kernel by its module's; the first that fits."""


CASES = (("testnet", 8), ("testnet", 16), ("wide", 8), ("residual", 8), ("transformer", 8))


def measure(steps: int = 20, cases: tuple[tuple[str, int], ...] = CASES) -> Iterator[Row]:
    """Milliseconds per step within operations, one thread. Profiling makes small operations slower than they are."""
    torch.set_num_threads(1)
    for network, bits in cases:
        files = Memory()
        spec = replace(with_data(network, files), bits=bits)
        work = Work(spec, SEED, None)
        trainer, state = Trainer(work, files, CPU), derive_state(work, files, CPU)
        plain = PlainLoop(spec, state.weights, load_examples(spec, files, spec.train, spec.n_train, CPU))
        batches = [
            torch.from_numpy(streams.batch(SEED, step, spec.batch, spec.n_train)) for step in range(steps + 2)
        ]

        def run_exact(step: int) -> None:
            with torch.inference_mode():
                trainer.step(state, step)  # noqa: B023 (called before the next turn)

        def run_plain(step: int) -> None:
            plain.step(step, batches[step])  # noqa: B023

        ours, theirs = _spent(run_exact, steps), _spent(run_plain, steps)
        for kind in (kind for kind in KINDS if ours[kind] and theirs[kind]):
            how = f"self time of operations, {steps} steps; share of a step {ours[kind] / sum(ours.values()):.0%}"
            what = f"{TITLES[network]}, {bits} bits: {kind}"
            yield Row(what, ours[kind], theirs[kind], ours[kind] / theirs[kind], "ms", how)


def _spent(run: Callable[[int], None], steps: int) -> dict[str, float]:
    """Milliseconds per step by kind."""
    run(0)
    run(1)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for step in range(2, steps + 2):
            run(step)
    spent = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages():
        spent[_kind(event.key.removeprefix("aten::"))] += event.self_cpu_time_total / 1000 / steps
    for module, seconds in _in_kernels(run, steps):
        spent[_kind(module)] += seconds * 1000 / steps
    return spent


def _in_kernels(run: Callable[[int], None], steps: int) -> Iterator[tuple[str, float]]:
    """Module and seconds of each kernel: torch's profiler does not see them."""
    with Profile() as profiler:
        for step in range(2, steps + 2):
            run(step)
    names = {(kernel.__code__.co_filename, kernel.__name__) for kernel, _ in KERNELS}
    for (file, _, name), (_, _, own, _, _) in Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if (file, name) in names:
            yield Path(file).stem, own


def _kind(name: str) -> str:
    return next(kind for kind, parts in KINDS.items() if any(part in name for part in parts))

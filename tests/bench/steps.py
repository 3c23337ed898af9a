"""A training step of the exact engine against one of the loop that anybody would write.

Both train the same network from the same weights on the same batches. Each task and number of threads has a process
of its own: torch's threads cannot be taken back.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import torch

from deepblock import streams
from deepblock.training.examples import load_examples
from deepblock.training.state import CPU, Work, derive_state, store_state
from deepblock.training.step import Trainer
from tests.bench.plain import PlainLoop
from tests.bench.table import ROOT, Row, alternating, paired
from tests.bench.tasks import TITLES, with_data
from tests.session_vectors import Memory

SIZES = {
    ("digits", 8): (40, 10),
    ("wide", 8): (20, 2),
    ("wide", 16): (20, 2),
    ("testnet", 8): (20, 2),
    ("testnet", 16): (20, 2),
    ("residual", 8): (10, 1),
    ("transformer", 8): (20, 1),
    ("transformer-256", 8): (10, 1),
}
"""Of a task and its bits: pairs, and steps of each half of one."""
SEED = bytes(32)


def measure() -> Iterator[Row]:
    for (network, bits), (count, steps) in SIZES.items():
        states = set()
        for threads in (1, 2):
            words = [sys.executable, "-m", __name__, network, *map(str, (threads, count, steps, bits))]
            done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True)
            pairs, state = json.loads(done.stdout)
            states.add(state)
            what = f"exact step, {TITLES[network]}, {bits} bits, {threads} thread{'s' * (threads > 1)}"
            yield paired(what, "ms", pairs, f"plain float32 torch loop, {steps} steps each")
        assert len(states) == 1, f"the bits depend on the number of threads: {states}"


def compare(
    network: str, threads: int, count: int, steps: int, bits: int = 8
) -> tuple[list[tuple[float, float]], str]:
    """(exact, plain) milliseconds per step, and the CID of the exact state in the end."""
    torch.set_num_threads(threads)
    files = Memory()
    spec = replace(with_data(network, files), bits=bits)
    work = Work(spec, SEED, None)
    trainer, state = Trainer(work, files, CPU), derive_state(work, files, CPU)
    plain = PlainLoop(spec, state.weights, load_examples(spec, files, spec.train, spec.n_train, CPU))
    drawn = [streams.batch(SEED, step, spec.batch, spec.n_train) for step in range((count + 1) * steps)]
    batches = [torch.from_numpy(indices) for indices in drawn]

    def run_exact(turn: int) -> None:
        with torch.inference_mode():
            for step in range(turn * steps, (turn + 1) * steps):
                trainer.step(state, step)

    def run_plain(turn: int) -> None:
        for step in range(turn * steps, (turn + 1) * steps):
            plain.step(step, batches[step])

    untrained = plain.loss(plain.weights)
    pairs = alternating(run_exact, run_plain, count)
    ours, theirs = plain.loss(state.weights), plain.loss(plain.weights)
    assert abs(ours - theirs) < 0.1 * untrained, f"a loss of {ours} where plain training has {theirs}"
    per_step = [(1000 / steps * exact, 1000 / steps * loop) for exact, loop in pairs]
    return per_step, str(store_state(spec, files, state))


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1], *map(int, sys.argv[2:]))))

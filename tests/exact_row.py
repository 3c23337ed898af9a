"""One row of `make exact-matrix`, in a process of its own: libraries read their settings when they are loaded.

Prints what the sessions give, what the libraries say of themselves, and what ordinary training gives, as JSON.
"""

import hashlib
import json

import torch

from deepblock import streams
from deepblock.exact.compiled.kernel import ON
from deepblock.training.examples import load_examples
from deepblock.training.state import CPU, derive_state
from tests.bench.plain import PlainLoop
from tests.vectors.exact.session import NAMES, load, run

ORDINARY_STEPS = 8
"""Of the loop that anybody would write: enough for its last bits to differ where anything does."""


def ordinary() -> str:
    """A hash of the weights that float32 training without our arithmetic gives, of the same networks and batches."""
    found = hashlib.sha256()
    for name in NAMES:
        work, files = load(name)
        spec = work.spec
        if spec.frozen:  # a state has the trained parameters alone
            continue
        examples = load_examples(spec, files, spec.train, spec.n_train, CPU)
        plain = PlainLoop(spec, derive_state(work, files, CPU).weights, examples)
        for step in range(ORDINARY_STEPS):
            plain.step(step, torch.from_numpy(streams.batch(work.seed, step, spec.batch, spec.n_train)))
        found.update(plain.weights.numpy().tobytes())
    return found.hexdigest()


def report() -> None:
    """Has oneDNN and MKL each do something and print what they did it with, between the lines of this process."""
    planes = torch.ones(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        torch.mkldnn_convolution(planes, torch.ones(16, 16, 3, 3), None, [1, 1], [1, 1], [1, 1], 1)
    with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
        torch.ones(64, 64) @ torch.ones(64, 64)


def main() -> None:
    row = {
        "torch": torch.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "kernels": ON,
        "found": {name: run(name) for name in NAMES},
        "ordinary": ordinary(),
    }
    report()
    print(json.dumps(row))


if __name__ == "__main__":
    main()

"""Testnet's base task, from other initial weights for each seed, with images that no rule ever looks at."""

import hashlib
from dataclasses import dataclass, replace

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.data import import_fashion_mnist
from deepblock.primitives import Hash32
from deepblock.spec import TaskSpec
from deepblock.training.score import score
from node.config import load_params
from tests.accuracy.tasks import FASHION_MNIST


@dataclass(frozen=True, slots=True)
class Task:
    """`spec`: what is trained. `test`: the same, with the test images as its held-out split."""

    spec: TaskSpec
    test: TaskSpec

    def accuracy(self, files: Files, model: Cid) -> float:
        """Percent of the test images that the model gets right."""
        return 100 * score(self.test, files, model).correct / self.test.n_heldout


def testnet(files: Files, seed: int) -> Task:
    """Its data are in `files` then. Raises DataError where they are not on this machine."""
    data = import_fashion_mnist(FASHION_MNIST)
    for split in (data.train, data.heldout):
        files.put_file(split)
    weights = Hash32(hashlib.sha256(f"learning {seed}".encode()).digest())
    spec = replace(load_params("testnet").base_tasks[0], init_seed=weights)
    return Task(spec, replace(spec, heldout=files.put_file(data.test), n_heldout=10_000))

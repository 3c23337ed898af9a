"""The examples of a split, as the network sees them (protocol: Encoding; exact: Four traps)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.data import read_split
from deepblock.exact.compiled import updates
from deepblock.exact.compiled.kernel import flat
from deepblock.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Examples:
    """`inputs`: uint8 [n, *input shape]; `labels`: uint8 [n] or [n, tokens]; `values`: float32 [256], of each byte."""

    inputs: Tensor
    labels: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (float32) and labels (int64) of the examples with these indices (int64)."""
        numbers = flat(self.inputs)
        if numbers is not None:
            size = len(numbers) // len(self)
            inputs = torch.empty(len(indices), *self.inputs.shape[1:])
            into = inputs.numpy().reshape(len(indices), size)
            updates.gather(numbers.reshape(len(self), size), indices.numpy(), self.values.numpy(), into)
            return inputs, self.labels.index_select(0, indices).long()
        bytes_ = self.inputs.index_select(0, indices)
        inputs = self.values.index_select(0, bytes_.flatten().int()).view(bytes_.shape)
        return inputs, self.labels.index_select(0, indices).long()


def load_examples(spec: TaskSpec, files: Files, split: Cid, examples: int, device: torch.device) -> Examples:
    """Reads a split. Raises Malformed as `read_split` does."""
    inputs, labels = read_split(spec, files, split, examples)
    return Examples(
        torch.tensor(inputs, device=device),
        torch.tensor(labels, device=device),
        torch.tensor(input_values(spec), device=device),
    )


def input_values(spec: TaskSpec) -> np.ndarray:
    """f32((x − input_zero) / input_span) of each byte x, float32 [256], divided in float64.

    A table, because a division by a constant is not a division on every device.
    """
    integers = np.arange(256) - int(spec.input_zero)
    return (integers.astype(np.float64) / np.float64(spec.input_span)).astype(np.float32)

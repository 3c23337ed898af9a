"""What a task trains: a declarative description, its shapes and its cost (protocol: Tasks; exact: Layers).

Everything here follows from the description alone, in integers: a node knows a session's cost, the size of
its files and whether its arithmetic can be exact before it touches the data. No numpy, no torch.
"""

from deepblock.spec.bounds import MAX_SPLIT_BYTES, check_bounds
from deepblock.spec.cost import (
    batch_numbers,
    forward_macs,
    frozen_macs,
    parameter_count,
    segment_macs,
    session_macs,
    step_bytes,
    trained_count,
)
from deepblock.spec.guess import ln_micro
from deepblock.spec.layers import (
    GELU,
    Attention,
    AvgPool,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GroupedConv2d,
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    MaxPool,
    Plain,
    Positions,
    ReLU,
    Residual,
)
from deepblock.spec.shapes import (
    Placed,
    Shape,
    all_placed,
    heldout_labels,
    label_shape,
    parameters,
    placed,
    started_parameters,
    trained_parameters,
)
from deepblock.spec.task import RATE_ONE, SpecError, Start, TaskSpec, data_files

__all__ = [
    "GELU",
    "MAX_SPLIT_BYTES",
    "RATE_ONE",
    "Attention",
    "AvgPool",
    "Conv2d",
    "Embedding",
    "Flatten",
    "GlobalAvgPool",
    "GroupNorm",
    "GroupedConv2d",
    "Layer",
    "LayerNorm",
    "Linear",
    "MaxPool",
    "Placed",
    "Plain",
    "Positions",
    "ReLU",
    "Residual",
    "Shape",
    "SpecError",
    "Start",
    "TaskSpec",
    "all_placed",
    "batch_numbers",
    "check_bounds",
    "data_files",
    "forward_macs",
    "frozen_macs",
    "heldout_labels",
    "label_shape",
    "ln_micro",
    "parameter_count",
    "parameters",
    "placed",
    "segment_macs",
    "session_macs",
    "started_parameters",
    "step_bytes",
    "trained_count",
    "trained_parameters",
]

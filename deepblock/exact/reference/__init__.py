"""The definitions, spelled out: slow, obvious, without torch. The engine has to give the same bits.

Numbers are Python ints, fractions and floats (a float is IEEE-754 binary64 and each operation rounds once); tensors
are numpy arrays, for their shapes. float32 is reached by one rounding, `f32`. Read this beside
../DEFINITION.md; then the engine is the same thing made fast.
"""

from deepblock.exact.reference.arithmetic import (
    cross_entropy,
    cross_entropy_gradient,
    exact_sum,
    exp,
    exp32,
    f32,
    log,
    product,
    quantise,
    settle,
    sgd,
)
from deepblock.exact.reference.attention import attention, attention_backward
from deepblock.exact.reference.layers import (
    add,
    avgpool,
    avgpool_backward,
    conv2d,
    conv2d_backward,
    embedding,
    embedding_backward,
    gelu,
    gelu_backward,
    global_avgpool,
    global_avgpool_backward,
    linear,
    linear_backward,
    maxpool,
    maxpool_backward,
    positions,
    positions_backward,
    relu,
    relu_backward,
)
from deepblock.exact.reference.norms import norm, norm_backward

__all__ = [
    "add",
    "attention",
    "attention_backward",
    "avgpool",
    "avgpool_backward",
    "conv2d",
    "conv2d_backward",
    "cross_entropy",
    "cross_entropy_gradient",
    "embedding",
    "embedding_backward",
    "exact_sum",
    "exp",
    "exp32",
    "f32",
    "gelu",
    "gelu_backward",
    "global_avgpool",
    "global_avgpool_backward",
    "linear",
    "linear_backward",
    "log",
    "maxpool",
    "maxpool_backward",
    "norm",
    "norm_backward",
    "positions",
    "positions_backward",
    "product",
    "quantise",
    "relu",
    "relu_backward",
    "settle",
    "sgd",
]

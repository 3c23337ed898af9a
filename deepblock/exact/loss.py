"""Cross-entropy over classes (exact: exp, log, Cross-entropy; protocol: Score).

The slow twins have the same names in `reference.arithmetic`. The sum over classes is exact because exponentials are
integers of at most 2^40, and there are at most 256 classes: 2^48.

Logits are float32 [N, classes] with int64 labels [N]; or [N, tokens, classes] and [N, tokens], where each token counts
as an example does.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from deepblock.exact.compiled import loss as kernels
from deepblock.exact.compiled.kernel import rows
from deepblock.exact.compiled.team import members
from deepblock.exact.constants import EXP_ONE, WORST_LOSS
from deepblock.exact.elementwise import exp, log


class _Exponentials(NamedTuple):
    """`values`: integers e_j = round_half_even(2^40 · exp(z_j − max z)), float64 [..., classes].

    `total`: their sum, [..., 1].
    """

    values: Tensor
    total: Tensor


def cross_entropy_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """f32((p − onehot) / n) of n rows, p_j = e_j / Σ e, each division rounded once in float64: d(mean loss)/d(logits).

    A row with NaN or Inf counts as all zeros.
    """
    numbers = rows(logits)
    if numbers is not None:
        gradient = torch.empty_like(logits)
        into = gradient.view(numbers.shape).numpy()
        kernels.gradient(members(numbers.size), numbers, labels.flatten().numpy(), into)
        return gradient
    finite = logits.isfinite().all(-1, keepdim=True)
    values, total = _exponentials(_shifted(torch.where(finite, logits, 0.0)))
    divisor = torch.full((), float(labels.numel()), dtype=torch.float64, device=logits.device)
    at_label = labels.unsqueeze(-1)
    shares = values.div_(total)
    shares.scatter_(-1, at_label, shares.gather(-1, at_label).sub_(1.0))
    return shares.div_(divisor).float()


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each label: the loss, float64, and whether the largest logit (the first) is the label's, bool.

    loss = min(ln(2^-40 · Σ e) + (max z − z_label), 2^20). A row with NaN or Inf has a loss of 2^20 and is wrong.
    """
    finite = logits.isfinite().all(-1)
    shifted = _shifted(torch.where(finite[..., None], logits, 0.0))
    total = _exponentials(shifted).total[..., 0]
    loss = log(total * (1.0 / EXP_ONE)) - shifted.gather(-1, labels[..., None])[..., 0]
    correct = (logits.argmax(-1) == labels) & finite
    return torch.where(finite, loss, WORST_LOSS).clamp_max_(WORST_LOSS), correct


def _shifted(logits: Tensor) -> Tensor:
    """z − max z of each row, in float64: ≤ 0."""
    z = logits.double()
    return z - z.amax(-1, keepdim=True)


def _exponentials(shifted: Tensor) -> _Exponentials:
    values = exp(shifted).mul_(EXP_ONE).round_()
    return _Exponentials(values, values.sum(-1, keepdim=True))

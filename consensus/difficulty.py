"""Difficulty and weight, both in multiply-accumulates (protocol: Score, ticket, difficulty, weight).

Difficulty D is MACs per block with 16 fractional bits. It follows the relative form of ASERT, with the integer
approximation of 2^x that Bitcoin Cash published as aserti3-2d.
"""

from typing import Final

from consensus.params import Params
from deepblock.spec import TaskSpec, session_macs

FRACTION_BITS: Final = 16
_LARGEST: Final = 2**128 - 1


def cost(params: Params, spec: TaskSpec) -> int:
    """Rule D2. c: the MACs that a session counts, in its ticket as in its task's turn. At most those of base task 0,
    which the least difficulty fits: so no task is too large for it, and what is dearer wins no more for it."""
    return min(session_macs(spec), session_macs(params.base_tasks[0]))


def floor(params: Params) -> int:
    """Rule D1. The least difficulty: r sessions of base task 0. So even alone a session wins at most one time in r."""
    return params.share_ratio * session_macs(params.base_tasks[0]) << FRACTION_BITS


def exp2(value: int, exponent: int) -> int:
    """Rule D3. ⌊value · 2^(exponent / 2^16)⌋, by a cubic whose error is below 0.013 %."""
    whole, part = exponent >> 16, exponent & 0xFFFF
    cubic = 195_766_423_245_049 * part + 971_821_376 * part**2 + 5_127 * part**3
    factor = (1 << 16) + (cubic + (1 << 47) >> 48)
    scaled = value * factor
    return scaled << whole - 16 if whole >= 16 else scaled >> 16 - whole


def next_difficulty(params: Params, difficulty: int, spacing: int) -> int:
    """Rule D4. D' = max(floor, D · 2^((T − Δt) / τ)). `spacing`: Δt = parent's − grandparent's timestamp, seconds."""
    ahead = params.block_time - spacing
    exponent = (ahead << 16) // params.difficulty_half_life
    exponent = max(-(128 << 16), min(128 << 16, exponent))
    return min(_LARGEST, max(floor(params), exp2(difficulty, exponent)))

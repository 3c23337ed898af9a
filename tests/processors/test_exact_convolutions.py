"""oneDNN computes our convolutions directly: it says so itself. A transform would round."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch
from deepblock.exact import convolution
from deepblock.exact.ways import Way
from deepblock.exact.window import Window
for channels, kernel, stride in ((1, 3, 1), (64, 3, 1), (64, 3, 2), (16, 5, 1), (32, 1, 1)):
    window = Window(kernel, stride, kernel // 2)
    x, weight = torch.ones(16, channels, 16, 16), torch.ones(64, channels, kernel, kernel)
    dy = torch.ones(16, 64, *window.output_sides(x.shape))
    convolution.forward(x, weight, window, 8, Way.DIRECT)
    convolution.input_gradient(dy, weight, x, window, 8, Way.DIRECT)
    convolution.weight_gradient(dy, x, weight, window, 8, Way.DIRECT)
"""


@pytest.mark.parametrize("isa", ["SSE41", "AVX2", "AVX512_CORE", "ALL"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_no_transform_is_ever_chosen(isa, threads):
    environment = os.environ | {
        "ONEDNN_VERBOSE": "1",
        "ONEDNN_MAX_CPU_ISA": isa,
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    calls = [line for line in done.stdout.splitlines() if ",primitive,exec,cpu,convolution," in line]
    assert len(calls) >= 15
    assert all("alg:convolution_direct" in call and "wino" not in call for call in calls)

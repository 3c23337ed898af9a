"""The published sessions, under every CPU configuration that this machine can imitate: the same CIDs everywhere."""

import json
import os
import subprocess
import sys

import pytest

from tests.vectors.exact.session import NAMES, published

CONFIGURATIONS = {
    "as it is": {},
    "one thread": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "MKL_DYNAMIC": "FALSE"},
    "no vector units": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "AVX-512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "oneDNN with SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "MKL with SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "MKL with AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL in strict AVX2 mode": {"MKL_CBWR": "AVX2,STRICT"},
    "the oldest machine": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "1",
    },
}


@pytest.mark.parametrize("settings", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_published_sessions(settings):
    command = [sys.executable, "-m", "tests.vectors.exact.session"]
    environment = (
        os.environ | {"OMP_WAIT_POLICY": "PASSIVE"} | settings
    )  # spinning threads would starve a busy machine
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: published(name)["result"] for name in NAMES}

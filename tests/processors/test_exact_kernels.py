"""Kernels as they come out of the compiler, into an empty cache."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from deepblock.exact.compiled.kernel import ON

pytestmark = pytest.mark.skipif(not ON, reason="kernels are off")

FUSED = re.compile(r"\bv?fn?m(add|sub|la|ls)")
"""Multiply and add in one instruction, of x86-64 or ARM."""


ONE = (
    "from deepblock.exact.compiled.updates import sgd\nfrom deepblock.exact.compiled.kernel import KERNELS\n"
)
ONE += "sgd.compile(dict(KERNELS)[sgd])"


def compiling(*words, **settings):
    environment = os.environ | settings
    output = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, *words], env=environment, **output)


@pytest.mark.timeout(900)
def test_no_kernel_has_a_fused_operation(tmp_path):
    settings = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DUMP_ASSEMBLY": "1"}
    process = compiling("-m", "deepblock.exact.compiled", **settings)
    assembly, _ = process.communicate(timeout=870)
    assert process.returncode == 0 and "kernels are compiled" in assembly
    assert len(assembly) > 100_000 and not FUSED.search(assembly)


def test_several_workers_compile_at_once(tmp_path):
    processes = [compiling("-c", ONE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(3)]
    outputs = [process.communicate(timeout=170)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert list(tmp_path.rglob("updates.sgd-*.nbc"))


def test_a_fused_operation_would_be_seen():
    from numba import njit

    def multiply_add(a, b, c, y):
        for i in range(len(y)):
            y[i] = a[i] * b[i] + c[i]

    one, tiny = np.float32(1.0), np.float32(2.0**-23)
    a, c = (
        np.full(40, one + tiny),
        np.full(40, -one - tiny - tiny),
    )  # (1 + t)² = 1 + 2t + t², where t² is lost
    fused = []
    for fast in (False, True):
        compiled = njit(multiply_add, fastmath=fast, error_model="numpy")
        y = np.full(40, np.float32(np.nan))
        compiled(a, a, c, y)
        assert bool(FUSED.search(compiled.inspect_asm(compiled.signatures[0]))) == bool(y.any())
        fused.append(bool(y.any()))
    assert not fused[0], "LLVM fuses even what it is not allowed to"


def test_without_a_folder_that_can_be_written():
    settings = {"NUMBA_CACHE_DIR": "/proc/nowhere", "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    process = compiling("-c", ONE, **settings)
    output, _ = process.communicate(timeout=170)
    assert process.returncode == 0, output

"""`python -m deepblock.exact.compiled`: compiles all kernels for this machine, so that no session waits for them."""

import importlib
import pkgutil
import sys
import time

from deepblock.exact import compiled
from deepblock.exact.compiled.kernel import KERNELS, ON


def main() -> int:
    if not ON:
        print(
            "Kernels are off (DEEPBLOCK_COMPILED=0, or there is no Numba): training is slower, with the same bits."
        )
        return 0
    began = time.perf_counter()
    for module in pkgutil.iter_modules(compiled.__path__):
        importlib.import_module(f"{compiled.__name__}.{module.name}")
    for kernel, signature in KERNELS:
        kernel.compile(signature)
    print(f"{len(KERNELS)} kernels are compiled ({time.perf_counter() - began:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())

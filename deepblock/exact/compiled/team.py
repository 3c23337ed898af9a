"""Kernels on all of torch's threads.

torch's operations share one team of threads, that of the OpenMP library torch comes with. Kernels borrow it: a team of
their own would be in its way, and to call it up takes 50 µs where this takes 1, or 8 if it sleeps between calls.
Where that library is not GNU's, kernels run on the caller's thread alone; the bits are the same.
"""

import ctypes
from pathlib import Path
from typing import Any, Final

import torch

from deepblock.exact.compiled.kernel import ON, part

ALONE: Final = 1 << 16
"""A pass over fewer numbers is done before others could join in."""


def _library() -> ctypes.CDLL | None:
    """torch's largest library; through it are found those that it is linked with."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    except OSError:
        return None
    return library if hasattr(library, "GOMP_parallel") else None


_OPENMP: Final = _library() if ON else None


def members(numbers: int) -> int:
    """How many threads a pass over so many numbers is for."""
    return torch.get_num_threads() if numbers >= ALONE and _OPENMP is not None else 1


@part
def span(rows: int, index: int, members: int) -> tuple[int, int]:
    """The first of the rows that are member `index`'s, and the first that is not any more."""
    return rows * index // members, rows * (index + 1) // members


together: Any = None

if ON:
    from llvmlite import binding, ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    _PARALLEL, _INDEX, _COUNT = _NAMES = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    for _name in _NAMES:  # each has to lead somewhere, even where nobody ever goes
        _function = getattr(_OPENMP, _name) if _OPENMP else ctypes.pythonapi.Py_IsInitialized
        binding.add_symbol(f"deepblock_{_name}", ctypes.cast(_function, ctypes.c_void_p).value)

    @intrinsic
    def together(typing_context: Any, members: Any, function: Any, arguments: Any) -> Any:
        """In a kernel: function(index, members, *arguments) for each index in 0 … members − 1, at the same time.

        `function`: a `part` that returns nothing and raises nothing; `arguments`: a tuple. OpenMP may give fewer
        members than were asked for, and then tells them so. This is what a C compiler makes of `#pragma omp parallel`:

            void member(void *arguments) { function(omp_get_thread_num(), omp_get_num_threads(), *arguments); }
            if (members == 1) function(0, 1, *arguments); else GOMP_parallel(member, &arguments, members, 0);
        """
        call = function.get_call_type(typing_context, (types.intp, types.intp, *arguments.types), {})
        compiled = function.dispatcher.overloads[call.args]

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            number, nothing, address = ir.IntType(32), ir.VoidType(), ir.IntType(8).as_pointer()
            asking, member_type = ir.FunctionType(number, []), ir.FunctionType(nothing, [address])
            starting = ir.FunctionType(nothing, [member_type.as_pointer(), address, number, number])

            def external(name: str, kind: Any) -> Any:
                return cgutils.get_or_insert_function(builder.module, kind, f"deepblock_{name}")

            member = ir.Function(builder.module, member_type, builder.module.get_unique_name("member"))
            member.linkage = "internal"
            inside = ir.IRBuilder(member.append_basic_block())
            who = [
                inside.sext(inside.call(external(name, asking), []), values[0].type)
                for name in (_INDEX, _COUNT)
            ]
            given = inside.load(inside.bitcast(member.args[0], values[2].type.as_pointer()))
            context.add_linking_libs([compiled.library])
            everything = [*who, *cgutils.unpack_tuple(inside, given)]
            context.call_internal_no_propagate(inside, compiled.fndesc, call, everything)
            inside.ret_void()

            slot = builder.bitcast(cgutils.alloca_once_value(builder, values[2]), address)
            one = values[0].type(1)
            with builder.if_else(builder.icmp_signed("==", values[0], one)) as (alone, in_company):
                with alone:
                    everything = [one.type(0), one, *cgutils.unpack_tuple(builder, values[2])]
                    context.call_internal_no_propagate(builder, compiled.fndesc, call, everything)
                with in_company:
                    count = builder.trunc(values[0], number)
                    builder.call(external(_PARALLEL, starting), [member, slot, count, number(0)])
            return context.get_dummy_value()

        return types.void(members, function, arguments), generate

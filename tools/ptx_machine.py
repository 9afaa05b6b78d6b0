"""Runs the PTX of kernels without a GPU: what the compiler made of them, inline instructions included.

    machine = ptx_machine.install()     # fastconv's cuda backend works now, slowly, in host memory
    ...
    machine.counts["implicit_gemm"]     # the instructions that ran, by kernel

Numba's simulator runs the Python of kernels and replaces the instructions of ``codegen/ptx.py``. This machine
runs the text that the driver would get, with the grid and block sizes of a device, one NumPy operation per
instruction over all threads of the launch (see ``ptx_interpreter/``). It raises a :class:`Fault` where

* an address is outside of the arrays that the kernel was given, or not a multiple of the access's size;
* shared memory is read that no thread has written, or that a ``cp.async`` still writes;
* two threads of a block access one word of shared memory, one of them writing, with no barrier between;
* some lanes of a warp execute an instruction of the whole warp (``mma``, ``ldmatrix``) without the others;
* two blocks write different numbers to one place.

Threads that diverge run in the order of the program text, so they meet again where the text joins.
Approximate functions (``ex2.approx``) are exact here. A float64 ``fma`` rounds in the platform's long double.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np
from ptx_interpreter.hopper import encode
from ptx_interpreter.launch import Machine
from ptx_interpreter.program import Fault, Program

from fastconv.backends.cuda.codegen import compiler

__all__ = ["CAPABILITY", "Fault", "Machine", "install"]

CAPABILITY = (9, 0)


def flatten(value) -> list:
    """The arguments of a kernel as Numba passes them: those inside of tuples one by one."""
    return [n for v in value for n in flatten(v)] if isinstance(value, tuple) else [value]


def address_of(value):
    """A number, or the address of an array."""
    if hasattr(value, "address"):
        return value.address
    return value.array.ctypes.data if hasattr(value, "array") else value


@functools.cache
def _program(kernel, kinds):
    return Program(compiler.compile_ptx(kernel, kinds, CAPABILITY))


def install(accesses=False) -> Machine:
    """Put a machine in place of the GPU for the rest of the process.

    Parameters
    ----------
    accesses : bool
        Whether to count accesses to memory, which takes as long as everything else.
    """
    from fastconv.backends.cuda.runtime import array, device

    machine = Machine(accesses)
    owned = {}  # all memory the pool ever had, by address

    def host_memory(size):
        data = np.empty(size + 512, np.uint8)
        data = data[-data.ctypes.data % 512 :][:size]
        owned[data.ctypes.data] = data
        return data

    def start(kernel, kinds, args, grid, block, shared):
        values = flatten(args)
        everything = any(isinstance(a, array.Window) for a in values)
        seen = {
            a.array.ctypes.data: a.array.view(np.uint8)
            for a in values
            if isinstance(a, array.Flat) and a.size
        }
        segments = sorted((owned if everything else _merged(seen)).items())
        name = kernel.py_func.__name__
        arguments = [address_of(a) for a in values]
        machine.run(name, _program(kernel, kinds), grid, block, arguments, segments, shared)

    device.emulate(start, host_memory, encode)
    return machine


def _merged(arrays):
    """Arrays that overlap as one."""
    found = []
    for address, data in sorted(arrays.items()):
        if found and address < found[-1][0] + found[-1][1].size:
            start, before = found[-1]
            end = max(start + before.size, address + data.size)
            if end > start + before.size:
                before = np.frombuffer((ctypes.c_uint8 * (end - start)).from_address(start), np.uint8)
            found[-1] = start, before
        else:
            found.append((address, data))
    return dict(found)

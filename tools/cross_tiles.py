"""Compile the register tiles for processors that are not here, and count what their inner loops consist of.

    python tools/cross_tiles.py                        every processor; exit code 1 if a loop is wrong
    python tools/cross_tiles.py cortex-a72 --asm       the inner loops' code as well
    python tools/cross_tiles.py cortex-a72 --rows 14   a tile that was not chosen

LLVM compiles for every architecture, so no such processor is needed. The passes are those that Numba runs.
The loops over whole vectors are checked. Such a loop has to keep its sums in registers, so it must not write
to the stack. Its other instructions (loads, addresses, copies of registers, reads of the stack) are limited
by a bound on instructions per multiply-add, because decoders deliver three or four instructions in a cycle
while the multiply-add units want two.

``llvm-mca``, if it is installed, adds the multiply-adds per cycle by LLVM's model of the processor. Nothing
depends on it. It models Cortex-A72 and A76 as A57, which starts one multiply-add of 16 bytes in a cycle.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.llvm_bindings import create_pass_builder

from fastconv.backends.cpu.codegen import depthwise_tile, gemm_tile
from fastconv.backends.cpu.codegen.emitter import I64, Emitter
from fastconv.backends.cpu.codegen.target import Target, target_of

AVX2 = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2"
AVX512 = f"{AVX2},+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd"


class Processor(NamedTuple):
    """A processor by LLVM's name, and the features that LLVM would find on it."""

    name: str
    triple: str
    features: str


PROCESSORS = {
    p.name: p
    for p in (
        Processor("cortex-a72", "aarch64-linux-gnu", "+neon"),
        Processor("cortex-a76", "aarch64-linux-gnu", "+neon,+dotprod"),
        Processor("neoverse-n1", "aarch64-linux-gnu", "+neon,+dotprod"),
        Processor("apple-m1", "arm64-apple-macosx", ""),  # on Apple Silicon LLVM lists no features
        Processor("haswell", "x86_64-linux-gnu", AVX2),
        Processor("skylake-avx512", "x86_64-linux-gnu", AVX512),
    )
}

#: Instructions for each multiply-add, at most. The largest gemm tile: loads of both operands, and as many
#: instructions for addresses and the loop as a tile of 16 registers has. The depthwise tiles: the load of an
#: address and that of a column feed as many multiply-adds as there are taps.
MOST_GEMM, MOST_DEPTHWISE = 2.1, 3.0


class Loop(NamedTuple):
    """What an inner loop consists of: its ``code``, and how many of the instructions are something special.

    Attributes
    ----------
    multiply_adds : int
        Multiply-adds of vectors.
    spills, reloads : int
        Writes to the stack, reads from it.
    moves : int
        Copies from one vector register to another.
    is_whole : bool
        Whether it reads whole vectors, not a part of one.
    """

    code: list[str]
    multiply_adds: int
    spills: int
    reloads: int
    moves: int
    is_whole: bool

    @property
    def per_multiply_add(self) -> float:
        return len(self.code) / self.multiply_adds


MULTIPLY_ADD = re.compile(r"fmla|fmadd|vfn?madd")
#: ``[sp, #16]``, ``16(%rsp)``. Negative offsets from the frame pointer, which only macOS insists on.
STACK = re.compile(r"\[sp\b|%rsp\b|\[x29, #-")
FRAME_MOVES = re.compile(r"(add|sub|mov)\s+x29,")
WRITE = re.compile(r"st[a-z]+\s|v?mov\w*\s+%\w+, *-?\d*\(%rsp\)$")
#: ``mov v1.16b, v2.16b`` (on macOS ``mov.16b v1, v2``), ``vmovaps %zmm1, %zmm2``
MOVE = re.compile(
    r"(mov|orr)(\.16b)?\s+v\d+(\.16b)?, *v|fmov\s+[sd]\d+, [sd]\d+$|vmov[au]p[sd]\s+%\w+, %\w+$"
)
#: Loads of a part of a vector: by a mask, or lane by lane.
PARTIAL = re.compile(r"vmaskmov|\{%k\d|ld1(\.s)?\s*\{[^}]*\}\s*\[|mov(\.s)?\s+v\d+(\.s)?\[")
LABEL = re.compile(r"(\.?LBB\d+_\d+):")
JUMP = re.compile(r"(?:b\.?\w*|j\w+|cbn?z|tbn?z)\s.*?(\.?LBB\d+_\d+)$")


def missing(processor: Processor) -> str | None:
    """Why LLVM cannot compile for a processor here, or None."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        llvm.Target.from_triple(processor.triple)
    except RuntimeError as error:
        return str(error)
    return None


def module(emit: Callable[[ir.IRBuilder, list[ir.Value]], None], count: int, triple: str) -> ir.Module:
    """An LLVM module with a function ``tile``, which reads ``count`` integers as those of ``jit`` do."""
    made = ir.Module("tiles")
    made.triple = triple
    function = ir.Function(made, ir.FunctionType(ir.VoidType(), [I64.as_pointer()]), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    words = function.args[0]
    emit(builder, [builder.load(builder.gep(words, [I64(i)])) for i in range(count)])
    builder.ret_void()
    return made


def compiled(made: ir.Module, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """The module after the passes that Numba runs (``numba.core.codegen``)."""
    made.data_layout = str(machine.target_data)
    parsed = llvm.parse_assembly(str(made))
    parsed.verify()
    full = create_pass_builder(machine, opt=3, loop_vectorize=True, slp_vectorize=True)
    functions = full.getFunctionPassManager()
    for function in parsed.functions:
        functions.run(function, full)
    cheap = create_pass_builder(machine, opt=0)
    passes = cheap.getModulePassManager()
    passes.add_loop_rotate_pass()
    passes.add_instruction_combine_pass()
    passes.add_jump_threading_pass()
    passes.run(parsed, cheap)
    full.getModulePassManager().run(parsed, full)
    return parsed


def target_machine(processor: Processor) -> llvm.TargetMachine:
    """LLVM's code generator for a processor, with the options that Numba gives it."""
    target = llvm.Target.from_triple(processor.triple)
    return target.create_target_machine(
        cpu=processor.name,
        features=processor.features,
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def instruction(line: str) -> str:
    """A line of assembly without its comment; empty if it is one."""
    return re.sub(r"(^|\s+)(#+ |//|;).*", "", line.strip()).replace("\t", " ")


def loops(assembly: str) -> list[Loop]:
    """The innermost loops of a function that have multiply-adds, in order."""
    found: list[Loop] = []
    label, block = None, []
    for text in map(instruction, assembly.splitlines()):
        if match := LABEL.match(text):
            label, block = match[1], []
        elif text and not text.startswith((".", "#")) and not text.endswith(":"):
            block.append(text)
            jump = JUMP.match(text)
            if jump and jump[1] == label:
                found.append(_loop(block))
                block = []
    return [loop for loop in found if loop.multiply_adds]


def _loop(code: list[str]) -> Loop:
    own = any(FRAME_MOVES.match(i) for i in code)  # x29 is a pointer of the loop, and no frame pointer
    stack = [i for i in code if STACK.search(i) and not (own and "[x29" in i)]
    spills = sum(bool(WRITE.match(i)) for i in stack)
    fused, moves = (sum(bool(kind.match(i)) for i in code) for kind in (MULTIPLY_ADD, MOVE))
    is_whole = not any(map(PARTIAL.search, code))
    return Loop(list(code), fused, spills, len(stack) - spills, moves, is_whole)


def gemm_tile_code(target: Target, rows: int, width: int = 2):
    """What emits the gemm tile of float32 with ``rows`` rows and ``width`` vectors, and how many arguments it
    has."""

    def emit(builder, args):
        lanes = target.vector_bytes // 4
        gemm_tile.emit_tile(
            Emitter(builder, types.float32, lanes, target.has_masks), rows, width, args, False
        )

    return emit, 16


def depthwise_tile_code(target: Target, taps: int, step: int, gradient: bool):
    """The same for the depthwise tile of rows of ``taps`` taps."""
    pixels = depthwise_tile.most_pixels(taps, target.registers)

    def emit(builder, args):
        e = Emitter(builder, types.float32, target.vector_bytes // 4, target.has_masks)
        (depthwise_tile.emit_gradient if gradient else depthwise_tile.emit_forward)(
            e, pixels, taps, step, 1, args
        )

    arguments = depthwise_tile.GRADIENT if gradient else depthwise_tile.FORWARD
    return emit, len(arguments.split(","))


def tiles(target: Target, rows: int | None = None):
    """``(name, code, bound)`` of the tiles that are checked: of every number of rows, and for every length of
    a depthwise row. Gemm tiles with fewer rows have no bound: their loads feed fewer multiply-adds."""
    for m in (rows,) if rows else range(target.tile_rows, 0, -1):
        yield f"gemm {m} x 2", gemm_tile_code(target, m), MOST_GEMM if rows or m == target.tile_rows else None
    if rows:
        return
    for taps in depthwise_tile.TAPS:
        for gradient in (False, True):
            name = f"depthwise {taps} taps, {'gradient' if gradient else 'forward'}"
            yield name, depthwise_tile_code(target, taps, 1, gradient), MOST_DEPTHWISE


def whole_loops(processor: Processor, code) -> list[Loop]:
    """The loops over whole vectors of a tile as compiled for a processor."""
    emit, count = code
    machine = target_machine(processor)
    assembly = machine.emit_assembly(compiled(module(emit, count, processor.triple), machine))
    return [loop for loop in loops(assembly) if loop.is_whole]


def faults(loop: Loop, most: float | None) -> list[str]:
    """What is wrong with an inner loop that may have ``most`` instructions for each multiply-add."""
    found = []
    if loop.spills:
        found.append(f"{loop.spills} spills")
    if most is not None and loop.per_multiply_add > most:
        found.append(f"{loop.per_multiply_add:.2f} instructions per multiply-add, more than {most}")
    return found


def rate(processor: Processor, loop: Loop) -> str:
    """Multiply-adds per cycle by llvm-mca's model; empty where there is none."""
    program = shutil.which("llvm-mca")
    if program is None:
        return ""
    command = [program, f"-mtriple={processor.triple}", f"-mcpu={processor.name}", "-iterations=200", "-"]
    text = "\n".join(loop.code[:-1])  # without the jump, whose label is elsewhere
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    cycles = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    return f"{200 * loop.multiply_adds / int(cycles[1]):.2f}" if cycles else ""


def check(processor: Processor, rows: int | None = None, asm: bool = False) -> list[str]:
    """Print the table of a processor; what is wrong with its tiles."""
    wrong = []
    target = target_of(processor.triple, processor.features)
    print(f"{processor.name}: {target.registers} registers of {target.vector_bytes} bytes")
    for name, code, most in tiles(target, rows):
        found = whole_loops(processor, code)
        if not found:
            wrong.append(f"{processor.name}, {name}: no inner loop with multiply-adds")
        for loop in found:
            print(
                f"  {name:27}{len(loop.code):4} instructions,{loop.multiply_adds:3} multiply-adds: "
                f"{loop.per_multiply_add:.2f} each; {loop.spills} spills, {loop.reloads} reloads, "
                f"{loop.moves} moves  {rate(processor, loop)}"
            )
            if asm:
                print(*(f"      {line}" for line in loop.code), sep="\n")
            wrong += [f"{processor.name}, {name}: {fault}" for fault in faults(loop, most)]
    return wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("processors", nargs="*", default=list(PROCESSORS), help=", ".join(PROCESSORS))
    parser.add_argument("--rows", type=int, help="the gemm tile with so many rows")
    parser.add_argument("--asm", action="store_true", help="print the loops")
    options = parser.parse_args(arguments)
    wrong, skipped = [], []
    for name in options.processors:
        if name not in PROCESSORS:
            parser.error(f"unknown processor {name}; known are {', '.join(PROCESSORS)}")
        why = missing(PROCESSORS[name])
        if why is not None:
            skipped.append(f"SKIPPED: {name}: this llvmlite has no such target ({why})")
        else:
            wrong += check(PROCESSORS[name], options.rows, options.asm)
    print(*skipped, *(f"WRONG: {fault}" for fault in wrong), sep="\n", end="\n" if skipped or wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""One launch of a kernel: control flow, registers, and the instructions that only compute."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np

from .arithmetic import (
    FUNCTIONS,
    KINDS,
    NAME,
    SIMPLE,
    as_kind,
    bf16,
    compare,
    convert,
    fma_down,
    high_product,
    insert_bits,
    literal,
    parts_of,
)
from .hopper import HopperInstructions
from .memory import FIRST, LOCAL, SHARED, WARP, MemoryInstructions, Shared
from .program import Fault
from .warp import WarpInstructions


class Machine:
    """Runs programs, and counts.

    Parameters
    ----------
    accesses : bool
        Whether to count accesses to memory too, which takes as long as the rest.

    Attributes
    ----------
    counts : dict
        By kernel: a Counter of instructions per warp by opcode, "launches" and "threads". Of accesses:
        "bytes" and "sectors" (of 32 bytes) of global memory, "wavefronts" of shared memory (one reads one
        word of each bank) and "fewest wavefronts", how many would be enough.
    """

    def __init__(self, accesses=False):
        self.counts, self.accesses = defaultdict(Counter), accesses

    def run(self, name, program, grid, block, arguments, segments, dynamic=0):
        """Run one launch; ``segments`` are (address, bytes as an array) of all memory that may be reached."""
        with np.errstate(all="ignore"):
            Launch(self, name, program, grid, block, arguments, segments, dynamic).run()


class Launch(MemoryInstructions, WarpInstructions, HopperInstructions):
    """The threads of a launch, and what they do."""

    def __init__(self, machine, name, program, grid, block, arguments, segments, dynamic):
        self.counts, self.accesses = machine.counts[name], machine.accesses
        self.name, self.program = name, program
        used = block[0] * block[1] * block[2]
        self.blocks, self.threads = grid[0] * grid[1] * grid[2], -(-used // WARP) * WARP
        n = self.lanes = self.blocks * self.threads
        lane = np.arange(n)
        thread, group = lane % self.threads, lane // self.threads
        special = {"laneid": thread % WARP, "dynamic_smem_size": np.full(n, dynamic)}
        for word, sizes, place in (("tid", block, thread), ("ctaid", grid, group)):
            for axis, size in zip("xyz", sizes):
                special[f"{word}.{axis}"] = place % size
                special[f"n{word}.{axis}"] = np.full(n, size)
                place = place // size
        self.registers = {f"%{k}": v.astype(np.uint32) for k, v in special.items()}
        self.arguments = dict(zip((p for p, _ in program.params), arguments))
        self.starts = np.array([s[0] for s in segments], np.uint64)
        self.segments = segments
        self.writers = {}  # of words of global memory: the block that wrote them
        self.symbols, at = {}, FIRST
        for symbol, size in sorted(program.shared.items(), key=lambda item: item[1] == 0):
            # those without a size are all the dynamic memory, which lies behind the others
            self.symbols[symbol] = SHARED + at
            at += -(-size // 16) * 16
        at += dynamic
        if max(grid[1:]) > 65535 or used > 1024 or at - FIRST > 227 << 10:
            raise Fault(
                f"{name}: a device takes no grid of {grid} of blocks of {block} with {at - FIRST} bytes"
            )
        self.shared = Shared(self.blocks, at - FIRST, self.threads)
        size = sum(-(-s // 16) * 16 for s in program.local.values())
        self.local_data, at = np.zeros((n, FIRST + size), np.uint8), FIRST
        for symbol, size in program.local.items():
            self.symbols[symbol] = LOCAL + at
            at += -(-size // 16) * 16
        self.flight, self.committed = [], np.zeros(n, np.int64)
        self.passed = {}  # to and from functions
        self.missing = thread >= used  # of the last warp
        self.start_hopper(program.cluster)
        self.counts["threads"] += n
        self.counts["launches"] += 1

    # ------------------------------------------------------------ control
    def run(self):
        gone, waiting = len(self.program.blocks), np.zeros(self.lanes, bool)
        at = np.where(self.missing, gone, 0)
        while True:
            here = np.where(waiting | self.resting, gone, at)
            now = here.min()
            if now >= gone:
                if self.arrive_boxes():
                    continue
                meeting = waiting.reshape(self.blocks, -1).any(1)
                meeting &= ~self.resting.reshape(self.blocks, -1).any(1)
                if not meeting.any():
                    if waiting.any() or self.resting.any():
                        raise Fault(f"{self.name}: threads wait for each other for ever")
                    return
                self.shared.barrier(meeting)
                waiting.reshape(self.blocks, -1)[meeting] = False
                continue
            active = here == now
            mask = None if active.all() else active
            for guard, wanted, opcode, operands in self.program.blocks[now]:
                lanes = mask
                if guard:
                    take = self.registers[guard] == wanted
                    lanes = take if mask is None else take & mask
                    if opcode[0] != "bra" and not lanes.any():
                        continue
                self.count(".".join(opcode), mask)
                if opcode[0] == "bra":
                    goal = self.program.labels[operands[0]]
                    at[active] = now + 1
                    at[... if lanes is None else lanes] = goal
                    break
                if opcode[0] in ("ret", "exit"):
                    at[active] = now + 1
                    at[... if lanes is None else lanes] = gone
                    break
                if opcode[0] in ("bar", "barrier"):
                    at[active] = now + 1
                    waiting |= active
                    break
                self.at = f"{self.name}, {'.'.join(opcode)} {', '.join(operands)} in block {now}"
                self.step(opcode, operands, lanes)
            else:
                at[active] = now + 1

    def count(self, what, mask):
        warps = self.lanes // WARP if mask is None else int(mask.reshape(-1, WARP).any(1).sum())
        self.counts[what] += warps

    # ------------------------------------------------------------ operands
    def get(self, operand, kind):
        if operand in self.registers:
            return as_kind(self.registers[operand], kind)
        if operand in self.program.registers:  # never written: a value of no meaning
            return np.full(self.lanes, 0xDEADBEEF, np.uint32).astype(kind)
        if operand in self.symbols:
            return np.full(self.lanes, self.symbols[operand], np.uint64).astype(kind)
        if kind.kind == "b":
            return np.full(self.lanes, bool(int(operand)))
        return np.full(self.lanes, literal(operand, kind))

    def put(self, register, value, mask):
        kind = self.program.registers[register]
        if value.dtype.itemsize != kind.itemsize and kind.kind != "b":
            value = value.astype(f"{value.dtype.kind}{kind.itemsize}")
        if mask is not None and register in self.registers:
            value = np.where(mask, value, as_kind(self.registers[register], value.dtype))
        self.registers[register] = value

    def address(self, operand):
        base, _, offset = operand.strip("[] ").partition("+")
        found = self.get(base, self.program.registers.get(base, KINDS["u64"])).astype(np.uint64)
        return found + np.uint64(int(offset or 0) % (1 << 64))

    # ------------------------------------------------------------ instructions
    def step(self, opcode, operands, mask):
        name, what = opcode[0], opcode[1:]
        kind = next((KINDS[w] for w in reversed(what) if w in KINDS), None)
        special = getattr(self, f"do_{name}", None)
        if special is not None:
            special(what, operands, mask, kind)
        elif name in SIMPLE:
            if name == "mov" and "{" in operands[0] + operands[1]:
                return self._repack(operands, mask, kind)
            if name == "fma" and "rm" in what:
                value = fma_down(*(self.get(o, kind) for o in operands[1:]))
            elif name == "mul" and "hi" in what:
                value = high_product(*(self.get(o, kind) for o in operands[1:]))
            elif name in ("mul", "mad") and "wide" in what:
                wide = np.dtype(f"{kind.kind}{2 * kind.itemsize}")
                a, b = (self.get(o, kind).astype(wide) for o in operands[1:3])
                value = a * b + (self.get(operands[3], wide) if name == "mad" else wide.type(0))
            elif name in ("shl", "shr"):
                if name == "shr" and what[-1][0] == "b":
                    kind = np.dtype(f"u{kind.itemsize}")
                value = SIMPLE[name](self.get(operands[1], kind), self.get(operands[2], KINDS["u32"]))
            elif name == "bfi":
                value = insert_bits(
                    *(self.get(o, kind) for o in operands[1:3]),
                    *(self.get(o, KINDS["u32"]) for o in operands[3:]),
                )
            else:
                value = SIMPLE[name](*(self.get(o, kind) for o in operands[1:]))
            if "sat" in what:
                value = np.clip(value, 0, 1)
            self.put(operands[0], value, mask)
        else:
            raise Fault(f"{self.name}: the machine does not know {'.'.join(opcode)}")

    def _repack(self, operands, mask, kind):
        """``mov`` between a register and several smaller ones."""
        to, source = map(parts_of, operands)
        part = np.dtype(f"u{kind.itemsize // max(len(to), len(source))}")
        if len(source) > 1:
            return self.put(
                to[0], np.stack([self.get(r, part) for r in source], -1).view(f"u{kind.itemsize}")[:, 0], mask
            )
        for register, value in zip(
            to, np.ascontiguousarray(self.get(source[0], kind)).view(part).reshape(self.lanes, -1).T
        ):
            self.put(register, value.copy(), mask)

    def do_setp(self, what, operands, mask, kind):
        self.put(operands[0], compare(what[0], *(self.get(o, kind) for o in operands[1:])), mask)

    def do_selp(self, what, operands, mask, kind):
        a, b, p = (
            self.get(operands[1], kind),
            self.get(operands[2], kind),
            self.get(operands[3], KINDS["pred"]),
        )
        self.put(operands[0], np.where(p, a, b), mask)

    def do_cvt(self, what, operands, mask, kind):
        if "bf16x2" in what:
            high, low = (bf16(self.get(o, KINDS["f32"])) for o in operands[1:])
            return self.put(operands[0], (high << np.uint32(16) | low).astype(np.uint32), mask)
        to, source = (KINDS.get(w, KINDS["u32"]) for w in what[-2:])
        self.put(operands[0], convert(what, self.get(operands[1], source), to), mask)

    def do_call(self, what, operands, mask, kind):
        if operands[1] not in FUNCTIONS:
            raise Fault(f"{self.name}: the machine does not know the function {operands[1]}")
        given = (as_kind(self.passed[name], KINDS["f64"]) for name in re.findall(NAME, operands[2]))
        self.passed[operands[0].strip("() ")] = FUNCTIONS[operands[1]](*given)

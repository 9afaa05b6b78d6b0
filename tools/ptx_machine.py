"""Runs the PTX of kernels without a GPU: what the compiler made of them, inline instructions included, not
their Python.

    machine = ptx_machine.install()     # fastconv's cuda backend works now, slowly, in host memory
    ...
    machine.counts["implicit_gemm"]     # what ran, by kernel

Numba's simulator runs Python functions, and stands in for the instructions of ``ptx.py``. This machine runs
the text that the driver would get, for the grid and block sizes that a device would get, one NumPy operation
per instruction over all threads of the launch. It stops with an :class:`Fault` where

* an address is outside of the arrays that the kernel was given, or not a multiple of the size read or
  written;
* shared memory is read that nobody wrote, or while a ``cp.async`` to it has not been waited for;
* two threads of a block reach one word of shared memory, one of them writing, with no barrier between;
* lanes of a warp reach an instruction for the whole warp (``mma``, ``ldmatrix``) without the others, or two
  blocks write
  different numbers to one place.

Threads whose ways part go on in the order of the program text, so they meet again where the text says.
Approximate functions (``ex2.approx``) are exact here; float64 ``fma`` rounds in the platform's long double.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np

WARP = 32
SHARED, LOCAL = 1 << 60, 1 << 61  # where the windows of shared and local memory lie among generic addresses
FIRST = 1024  # the first address of shared and local memory: not 0, so that a null pointer is outside


class Fault(RuntimeError):
    """What a device would not do as meant."""


# ------------------------------------------------------------------------------------------------------ types
# and registers
LETTERS = {"b": "u", "u": "u", "s": "i"}
KINDS = {
    f"{kind}{n}": np.dtype(f"{letter}{n // 8}") for n in (8, 16, 32, 64) for kind, letter in LETTERS.items()
}
KINDS |= {"f32": np.dtype("f4"), "f64": np.dtype("f8"), "pred": np.dtype(bool)}
NAME = r"[%_$a-zA-Z][\w$%.]*"


def as_kind(x, kind):
    """A register's bits as numbers of ``kind``; wider registers are cut, narrower ones extended as their own
    kind says."""
    if x.dtype == kind:
        return x
    return x.view(kind) if x.dtype.itemsize == kind.itemsize else x.astype(kind)


def literal(text, kind):
    if text[:2] in ("0f", "0d"):
        bits = np.dtype("u4" if text[1] == "f" else "u8").type(int(text[2:], 16))
        return as_kind(bits.view("f4" if text[1] == "f" else "f8"), kind)
    value = int(text, 0)
    return kind.type(value) if kind.kind in "fb" else np.uint64(value % (1 << 64)).astype(kind)


def parts_of(operand) -> list[str]:
    """The registers of an operand, ``%r1`` or ``{%r1, %r2}``."""
    return [name.strip() for name in operand.strip("{} ").split(",")]


# ------------------------------------------------------------------------------------------------------
# arithmetic
def _divide(a, b):
    if a.dtype.kind == "f":
        return a / b
    if a.dtype.kind == "u":
        return a // np.maximum(b, 1)
    quotient = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where((a < 0) != (b < 0), -quotient, quotient)


def _fma(a, b, c):
    wide = np.float64 if a.dtype.itemsize == 4 else np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def _fma_down(a, b, c):
    exact = a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)
    near = exact.astype(np.float32)
    return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)


def _high(a, b):
    if a.dtype.itemsize == 4:
        return (a.astype(np.int64 if a.dtype.kind == "i" else np.uint64) * b.astype(a.dtype) >> 32).astype(
            a.dtype
        )
    return (a.astype(object) * b.astype(object) >> 64).astype(a.dtype)


def _shift(operation):
    def shift(a, n):
        bits = 8 * a.dtype.itemsize
        far = n >= bits
        moved = operation(a, np.minimum(n, bits - 1).astype(a.dtype))
        return np.where(
            far,
            np.where(a < 0, -1, 0).astype(a.dtype) if operation is np.right_shift else a.dtype.type(0),
            moved,
        )

    return shift


def _bfi(a, b, position, length):
    mask = ((np.uint64(1) << length.astype(np.uint64)) - np.uint64(1)).astype(a.dtype) << position.astype(
        a.dtype
    )
    return (b & ~mask) | (a << position.astype(a.dtype) & mask)


def _tf32(x):
    bits = x.view(np.uint32)
    return np.where(np.isfinite(x), bits + np.uint32(0x1000) & np.uint32(0xFFFFE000), bits)


def bf16(x):
    """The upper halves of float32 numbers, rounded to nearest, ties to even."""
    bits = x.view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FFF), near)


def _convert(how, x, to):
    if "tf32" in how:
        return _tf32(x)
    if to.kind in "iu" and x.dtype.kind == "f":
        x = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}[
            next(h for h in how if h[0] == "r")
        ](x)
        limits = np.iinfo(to)
        # the largest float below the limit: the limit itself may round up
        top = (
            np.nextafter(x.dtype.type(limits.max), x.dtype.type(0))
            if limits.bits >= 8 * x.itemsize
            else limits.max
        )
        return np.nan_to_num(np.clip(x, limits.min, top), nan=0).astype(to)
    for name, function in (("rzi", np.trunc), ("rni", np.rint), ("rmi", np.floor), ("rpi", np.ceil)):
        if name in how:
            x = function(x)
    if "sat" in how:
        x = np.nan_to_num(np.clip(x, 0, 1), nan=0)
    return x.astype(to)


SIMPLE = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,
    "rem": lambda a, b: a - b * _divide(a, b),
    "min": np.fmin,
    "max": np.fmax,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "neg": np.negative,
    "abs": np.abs,
    "shl": _shift(np.left_shift),
    "shr": _shift(np.right_shift),
    "fma": _fma,
    "mad": lambda a, b, c: a * b + c,
    "sqrt": np.sqrt,
    "rcp": lambda a: a.dtype.type(1) / a,
    "ex2": np.exp2,
    "lg2": np.log2,
    "rsqrt": lambda a: a.dtype.type(1) / np.sqrt(a),
    "tanh": np.tanh,
    "mov": lambda a: a,
    "copysign": lambda sign, size: np.copysign(size, sign),
    "bfi": _bfi,
    "popc": lambda a: np.bitwise_count(a).astype(np.uint32),
    "cvta": lambda a: a,
}

COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}


#: Functions of CUDA's mathematical library that are called, not inlined; of float64.
FUNCTIONS = {"__internal_accurate_pow": np.power}


def _compare(name, a, b):
    if name not in COMPARE:  # "gtu": true where one of them is NaN
        return COMPARE[name[:-1]](a, b) | COMPARE["nan"](a, b)
    if name == "ne" and a.dtype.kind == "f":
        return ~np.isnan(a) & ~np.isnan(b) & (a != b)
    return COMPARE[name](a, b)


# ------------------------------------------------------------------------------------------------------ the
# program
class Program:
    """The text of one kernel as basic blocks of instructions ``(predicate, wanted, opcode parts,
    operands)``."""

    def __init__(self, text: str):
        self.shared = {
            m[1]: int(m[2] or 0) for m in re.finditer(rf"\.shared \.align \d+ \.b8 ({NAME})\[(\d*)\]", text)
        }
        entry = re.search(rf"\.entry {NAME}\(([^)]*)\)[^{{]*\n\{{(.*?)\n\}}", text, re.S)
        self.params = [(m[2], KINDS[m[1]]) for m in re.finditer(rf"\.param \.(\w+) ({NAME})", entry[1])]
        self.registers, self.local = {}, {}
        self.blocks, self.labels = [[]], {}
        body = re.sub(r"//.*", "", entry[2])
        # scopes of names, which do not clash
        body = re.sub(r"^\s*[{}]\s*$|\{\s*(?=\.reg)|\}\s*$", "", body, flags=re.M)
        for statement in re.split(r";|(?<=:)\s", body):
            self._read(" ".join(statement.split()))

    def _read(self, line):
        if not line:
            return
        if label := re.fullmatch(rf"({NAME}):", line):
            self._cut()
            self.labels[label[1]] = len(self.blocks) - 1
        elif local := re.fullmatch(rf"\.local \.align \d+ \.b8\s+({NAME})\[(\d+)\]", line):
            self.local[local[1]] = int(local[2])
        elif register := re.fullmatch(rf"\.reg \.(\w+)\s+({NAME})(?:<(\d+)>)?", line):
            names = [f"{register[2]}{i}" for i in range(int(register[3]))] if register[3] else [register[2]]
            self.registers |= dict.fromkeys(names, KINDS[register[1]])
        elif line[0] != ".":
            self._instruction(line)
        elif not line.startswith((".pragma", ".param")):
            raise Fault(f"not understood: {line}")

    def _instruction(self, line):
        guard, wanted = None, True
        if m := re.match(rf"@(!?)({NAME})\s+", line):
            guard, wanted, line = m[2], not m[1], line[m.end() :]
        opcode, *rest = line.split(None, 1)
        operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s]+", "".join(rest))
        self.blocks[-1].append((guard, wanted, tuple(opcode.replace("::", ".").split(".")), operands))
        if opcode.split(".")[0] in ("bra", "ret", "exit", "bar", "barrier"):
            self._cut()

    def _cut(self):
        if self.blocks[-1]:
            self.blocks.append([])


class _Shared:
    """Shared memory of all blocks, and who touched each of its words since the last barrier."""

    def __init__(self, blocks, size, threads):
        self.words = -(-size // 4) + FIRST // 4
        self.data = np.zeros((blocks, 4 * self.words), np.uint8)
        shape = blocks * self.words
        self.known = np.zeros(shape, bool)
        self.flying = np.zeros(shape, bool)
        self.writer, self.reader = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
        self.block = np.arange(blocks * threads) // threads
        self.end = FIRST + size

    def barrier(self, block):
        """``block``: which blocks came together."""
        for who in (self.writer, self.reader):
            who.reshape(-1, self.words)[block] = -1

    def touched(self, lanes, address, size, writing, what):
        """Checks one access, ``size`` bytes by each of ``lanes``."""
        for word in range(0, max(size, 4), 4):
            places = self.block[lanes] * self.words + (address + word) // 4
            who = lanes.astype(np.int32)
            if self.flying[places].any():
                raise Fault(f"{what}: an asynchronous copy to this place has not been waited for")
            if not writing and not self.known[places].all():
                raise Fault(f"{what}: nobody has written this place")
            others = (self.writer[places] != -1) & (self.writer[places] != who)
            if writing:
                others |= (self.reader[places] != -1) & (self.reader[places] != who)
                self.writer[places] = who
                others |= self.writer[places] != who  # two threads in one instruction
                self.known[places] = True
            else:
                first = self.reader[places]
                self.reader[places] = np.where((first == -1) | (first == who), who, -2)
                again = self.reader[places]
                self.reader[places[(again != who)]] = -2
            if others.any():
                a = np.flatnonzero(others)[0]
                place = places[a]
                other = self.writer[place] if self.writer[place] not in (-1, who[a]) else self.reader[place]
                raise Fault(
                    f"{what}: threads {who[a]} and {other if other >= 0 else 'several others'} meet at byte "
                    f"{address[a] + word - FIRST} of shared memory with no barrier between"
                )


class Machine:
    """Runs programs, and counts.

    Parameters
    ----------
    accesses : whether to count accesses to memory too, which takes as long as the rest

    Attributes
    ----------
    counts : dict
        By kernel: a Counter of instructions per warp by opcode, "launches" and "threads"; of accesses "bytes"
        and "sectors" (of 32 bytes) of global memory, "wavefronts" of shared memory (one asks each bank for
        one word) and how few would do.
    """

    def __init__(self, accesses=False):
        self.counts, self.accesses = defaultdict(Counter), accesses

    def run(self, name, program, grid, block, arguments, segments, dynamic=0):
        """Run one launch; ``segments`` are (address, bytes as an array) of all memory that may be reached."""
        with np.errstate(all="ignore"):
            _Launch(self, name, program, grid, block, arguments, segments, dynamic).run()


class _Launch:
    def __init__(self, machine, name, program, grid, block, arguments, segments, dynamic):
        self.counts, self.accesses, self.name, self.program = (
            machine.counts[name],
            machine.accesses,
            name,
            program,
        )
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
            # all without a size, the dynamic memory behind the rest, are one
            self.symbols[symbol] = SHARED + at
            at += -(-size // 16) * 16
        at += dynamic
        if max(grid[1:]) > 65535 or used > 1024 or at - FIRST > 227 << 10:
            raise Fault(
                f"{name}: a device takes no grid of {grid} of blocks of {block} with {at - FIRST} bytes"
            )
        self.shared = _Shared(self.blocks, at - FIRST, self.threads)
        size = sum(-(-s // 16) * 16 for s in program.local.values())
        self.local_data, at = np.zeros((n, FIRST + size), np.uint8), FIRST
        for symbol, size in program.local.items():
            self.symbols[symbol] = LOCAL + at
            at += -(-size // 16) * 16
        self.flight, self.committed = [], np.zeros(n, np.int64)
        self.passed = {}  # to and from functions
        self.missing = thread >= used  # of the last warp
        self.counts["threads"] += n
        self.counts["launches"] += 1

    # --------------------------------------------------------------------------------------------------
    # control
    def run(self):
        gone, waiting = len(self.program.blocks), np.zeros(self.lanes, bool)
        at = np.where(self.missing, gone, 0)
        while True:
            here = np.where(waiting, gone, at)
            now = here.min()
            if now >= gone:
                if not waiting.any():
                    return
                meeting = waiting.reshape(self.blocks, -1).any(1)
                self.shared.barrier(meeting)
                waiting[:] = False
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

    # --------------------------------------------------------------------------------------------------
    # operands
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

    # --------------------------------------------------------------------------------------------------
    # instructions
    def step(self, opcode, operands, mask):
        name, what = opcode[0], opcode[1:]
        kind = next((KINDS[w] for w in reversed(what) if w in KINDS), None)
        special = getattr(self, f"_{name}", None)
        if special is not None:
            special(what, operands, mask, kind)
        elif name in SIMPLE:
            if name == "mov" and "{" in operands[0] + operands[1]:
                return self._repack(operands, mask, kind)
            if name == "fma" and "rm" in what:
                value = _fma_down(*(self.get(o, kind) for o in operands[1:]))
            elif name == "mul" and "hi" in what:
                value = _high(*(self.get(o, kind) for o in operands[1:]))
            elif name in ("mul", "mad") and "wide" in what:
                wide = np.dtype(f"{kind.kind}{2 * kind.itemsize}")
                a, b = (self.get(o, kind).astype(wide) for o in operands[1:3])
                value = a * b + (self.get(operands[3], wide) if name == "mad" else wide.type(0))
            elif name in ("shl", "shr"):
                if name == "shr" and what[-1][0] == "b":
                    kind = np.dtype(f"u{kind.itemsize}")
                value = SIMPLE[name](self.get(operands[1], kind), self.get(operands[2], KINDS["u32"]))
            elif name == "bfi":
                value = _bfi(
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

    def _setp(self, what, operands, mask, kind):
        self.put(operands[0], _compare(what[0], *(self.get(o, kind) for o in operands[1:])), mask)

    def _selp(self, what, operands, mask, kind):
        a, b, p = (
            self.get(operands[1], kind),
            self.get(operands[2], kind),
            self.get(operands[3], KINDS["pred"]),
        )
        self.put(operands[0], np.where(p, a, b), mask)

    def _cvt(self, what, operands, mask, kind):
        if "bf16x2" in what:
            high, low = (bf16(self.get(o, KINDS["f32"])) for o in operands[1:])
            return self.put(operands[0], (high << np.uint32(16) | low).astype(np.uint32), mask)
        to, source = (KINDS.get(w, KINDS["u32"]) for w in what[-2:])
        self.put(operands[0], _convert(what, self.get(operands[1], source), to), mask)

    def _call(self, what, operands, mask, kind):
        if operands[1] not in FUNCTIONS:
            raise Fault(f"{self.name}: the machine does not know the function {operands[1]}")
        given = (as_kind(self.passed[name], KINDS["f64"]) for name in re.findall(NAME, operands[2]))
        self.passed[operands[0].strip("() ")] = FUNCTIONS[operands[1]](*given)

    # --------------------------------------------------------------------------------------------------
    # memory
    def _ld(self, what, operands, mask, kind):
        registers = parts_of(operands[0])
        if what[0] == "param":
            name = operands[1].strip("[] ").partition("+")[0]
            value = self.passed[name] if name in self.passed else np.full(self.lanes, self.arguments[name])
            return self.put(
                registers[0], as_kind(value, kind) if name in self.passed else value.astype(kind), mask
            )
        lanes = np.arange(self.lanes) if mask is None else np.flatnonzero(mask)
        view, index = self.place(what, self.address(operands[1])[lanes], kind, len(registers), lanes, False)
        for i, register in enumerate(registers):
            value = np.zeros(self.lanes, kind)
            value[lanes] = view(index + i)
            self.put(register, value, mask)

    def _st(self, what, operands, mask, kind):
        if what[0] == "param":
            self.passed[operands[0].strip("[] ").partition("+")[0]] = self.get(operands[1], kind)
            return
        registers = parts_of(operands[1])
        lanes = np.arange(self.lanes) if mask is None else np.flatnonzero(mask)
        view, index = self.place(what, self.address(operands[0])[lanes], kind, len(registers), lanes, True)
        for i, register in enumerate(registers):
            view(index + i, self.get(register, kind)[lanes])

    def place(self, what, address, kind, count, lanes, writing):
        """A function that reads or writes by index, and the index, for an access of ``count`` numbers at
        ``address``."""
        size = kind.itemsize
        if len(address) == 0:
            return (lambda i, v=None: np.empty(0, kind)), address.astype(np.int64)
        if (address % np.uint64(size * count)).any():
            raise Fault(f"{self.at}: {count} x {size} bytes at an address that is no multiple of their size")
        first = int(address[0])
        if what[0] == "shared" or first & SHARED:
            return self._place_shared(address, kind, count, lanes, writing)
        if what[0] == "local" or first & LOCAL:
            return self._flat(self.local_data, lanes, (address & np.uint64(LOCAL - 1)).astype(np.int64), kind)
        if self.accesses:
            self.count_sectors(address, size * count, lanes)
        which = np.searchsorted(self.starts, address, "right") - 1
        found = np.unique(which)
        for segment in found:
            end = self.segments[segment][0] + self.segments[segment][1].size if segment >= 0 else 0
            far = address[which == segment].max()
            if int(far) + size * count > end:
                raise Fault(
                    f"{self.at}: {'writes' if writing else 'reads'} {size * count} bytes at {int(far):#x}, "
                    f"{int(far) + size * count - end} bytes past the end of an array"
                )
        if len(found) == 1:
            start, data = self.segments[found[0]]
            whole = data[: data.size // size * size].view(kind)
            index = ((address - np.uint64(start)) // np.uint64(size)).astype(np.int64)

            def one(i, values=None):
                if values is None:
                    return whole[i]
                self.write(found[0], whole, i, values, lanes)

            return one, index
        parts = [
            self.place(what, address[which == s], kind, count, lanes[which == s], writing) for s in found
        ]
        index = np.arange(len(address)) * 8  # i counts on from here

        def several(i, values=None):
            result = np.empty(len(address), kind) if values is None else values
            for s, (view, at) in zip(found, parts):
                chosen = which == s
                if values is None:
                    result[chosen] = view(at + (i[chosen] - index[chosen]))
                else:
                    view(at + (i[chosen] - index[chosen]), values[chosen])
            return result

        return several, index

    def write(self, segment, whole, i, values, lanes):
        """Write global memory; the same place may be written by several threads only if they write the
        same."""
        if segment not in self.writers:
            self.writers[segment] = np.full(self.segments[segment][1].size // 4 + 1, -1, np.int32)
        words, group = self.writers[segment], self.shared.block[lanes].astype(np.int32)
        place = i * whole.itemsize // 4
        before = words[place]
        if whole.itemsize >= 4:
            bits = whole.view(f"u{whole.itemsize}")
            if ((before != -1) & (before != group) & (bits[i] != values.view(bits.dtype))).any():
                raise Fault(f"{self.at}: two blocks write different numbers to one place")
        words[place] = group
        whole[i] = values
        if whole.itemsize >= 4 and (bits[i] != values.view(bits.dtype)).any():
            raise Fault(f"{self.at}: two threads write different numbers to one place at once")

    def _place_shared(self, address, kind, count, lanes, writing):
        at = (address & np.uint64(SHARED - 1)).astype(np.int64)
        if (at < FIRST).any() or (at + kind.itemsize * count > self.shared.end).any():
            raise Fault(f"{self.at}: outside of shared memory")
        if self.accesses:
            self.count_wavefronts(at, kind.itemsize * count, lanes)
        self.shared.touched(lanes, at, kind.itemsize * count, writing, self.at)
        return self._flat(self.shared.data, self.shared.block[lanes], at, kind)

    def _flat(self, data, row, at, kind):
        whole = data.reshape(-1).view(kind)

        def view(i, values=None):
            if values is None:
                return whole[i]
            whole[i] = values

        return view, (row * data.shape[1] + at) // kind.itemsize

    def count_sectors(self, address, size, lanes):
        warp = lanes // WARP
        pieces = np.arange(0, size, 32 if size > 32 else size)
        sector = ((address[:, None] + pieces.astype(np.uint64)) >> np.uint64(5)).astype(np.int64)
        pairs = np.stack([np.broadcast_to(warp[:, None], sector.shape), sector]).reshape(2, -1)
        self.counts["sectors"] += np.unique(pairs, axis=1).shape[1]
        self.counts["bytes"] += size * len(address)

    def count_wavefronts(self, at, size, lanes):
        """How many times shared memory is asked for one access per warp: a quarter of a warp at a time for 16
        bytes, half for 8, as often as words of one bank are asked for."""
        team = lanes // (WARP // max(size // 4, 1))
        word = at[:, None] // 4 + np.arange(max(size // 4, 1))
        pairs = np.unique(np.broadcast_to(team[:, None], word.shape).astype(np.int64) << 40 | word)
        banks = np.unique(pairs >> 40 << 40 | (pairs & 31), return_counts=True)
        teams, start = np.unique(banks[0] >> 40, return_index=True)
        self.counts["wavefronts"] += int(np.maximum.reduceat(banks[1], start).sum())
        self.counts["fewest wavefronts"] += len(teams)

    # -------------------------------------------------------------------------------------- copies and tensor
    # cores
    def _cp(self, what, operands, mask, kind):
        if "commit_group" in what:
            self.committed += 1 if mask is None else mask
            return
        if "wait_group" in what or "wait_all" in what:
            lanes = np.arange(self.lanes) if mask is None else np.flatnonzero(mask)
            last = self.committed.copy()
            last[lanes] -= int(operands[0])
            waits = np.zeros(self.lanes, bool)
            waits[lanes] = True
            left = []
            for lane, group, at, data in self.flight:
                arrived = waits[lane] & (group < last[lane])
                self._land(lane[arrived], at[arrived], data[arrived])
                rest = ~arrived
                if rest.any():
                    left.append((lane[rest], group[rest], at[rest], data[rest]))
            self.flight = left
            return
        lanes = np.arange(self.lanes) if mask is None else np.flatnonzero(mask)
        size = int(operands[2])
        to = self.address(operands[0])[lanes].astype(np.int64) & (SHARED - 1)
        valid = (
            self.get(operands[3], KINDS["u32"])[lanes]
            if len(operands) > 3
            else np.full(len(lanes), size, np.uint32)
        )
        if (to % size).any():
            raise Fault(f"{self.at}: cp.async of {size} bytes to an address that is no multiple of them")
        if (to < FIRST).any() or (to + size > self.shared.end).any():
            raise Fault(f"{self.at}: cp.async to outside of shared memory")
        self.shared.touched(lanes, to, size, True, self.at)
        if self.accesses:
            self.count_wavefronts(to, size, lanes)
        data = np.zeros((len(lanes), size // 4), np.uint32)
        source = self.address(operands[1])[lanes]
        taken = valid == size
        if taken.any():
            view, index = self.place(("global",), source[taken], KINDS["u32"], size // 4, lanes[taken], False)
            for i in range(size // 4):
                data[taken, i] = view(index + i)
        for word in range(0, size, 4):
            self.shared.flying[self.shared.block[lanes] * self.shared.words + (to + word) // 4] = True
        self.flight.append((lanes, self.committed[lanes], to, data))

    def _land(self, lane, at, data):
        words = self.shared.data.reshape(-1).view(np.uint32)
        for i in range(data.shape[1]):
            place = self.shared.block[lane] * self.shared.words + at // 4 + i
            words[place] = data[:, i]
            self.shared.flying[place] = False
            self.shared.writer[place] = lane

    def whole_warps(self, mask, what):
        """The warps that run an instruction for whole warps."""
        if mask is None:
            return np.arange(self.lanes).reshape(-1, WARP)
        mask = mask.reshape(-1, WARP)
        if (mask.any(1) != mask.all(1)).any():
            raise Fault(f"{self.at}: {what} by a part of a warp")
        return np.arange(self.lanes).reshape(-1, WARP)[mask.all(1)]

    def _ldmatrix(self, what, operands, mask, kind):
        warps = self.whole_warps(mask, "ldmatrix")
        registers = parts_of(operands[0])
        address = self.address(operands[1]).astype(np.int64)
        for i, register in enumerate(registers):
            lanes = warps[:, 8 * i : 8 * i + 8].reshape(-1)
            rows = address[lanes] & (SHARED - 1)
            if (rows % 16).any():
                raise Fault(f"{self.at}: ldmatrix from an address that is no multiple of 16")
            # whose threads read is not told by who names the row; a writer anywhere else must be a barrier
            # away
            if self.accesses:
                self.count_wavefronts(rows, 16, lanes)
            self.shared.touched(lanes, rows, 16, False, self.at)
            view, index = self._flat(self.shared.data, self.shared.block[lanes], rows, KINDS["u32"])
            words = np.stack([view(index + j) for j in range(4)], -1)
            if "trans" in what:
                words = np.ascontiguousarray(words.view(np.uint16).reshape(-1, 8, 8).transpose(0, 2, 1)).view(
                    np.uint32
                )
            words = words.reshape(-1, WARP)  # row r, word j -> lane 4 r + j
            value = np.zeros(self.lanes, np.uint32)
            value[warps.reshape(-1)] = words.reshape(-1)
            self.put(register, value, mask)

    def _mma(self, what, operands, mask, kind):
        warps = self.whole_warps(mask, "mma")
        halves = 2 if "bf16" in what else 1
        flat = warps.reshape(-1)

        def numbers(operand):
            words = np.stack([self.get(r, KINDS["u32"])[flat] for r in parts_of(operand)], -1)
            if halves == 1:
                # tf32: the rest is not looked at
                return (words & np.uint32(0xFFFFE000)).view(np.float32)[..., None]
            return np.stack([words << np.uint32(16), words & np.uint32(0xFFFF0000)], -1).view(np.float32)

        count = len(warps)
        # lane = (g, t); register of A = (k half, m half), of B = k half, of C = (m half, n)
        a = (
            numbers(operands[1])
            .reshape(count, 8, 4, 2, 2, halves)
            .transpose(0, 4, 1, 3, 2, 5)
            .reshape(count, 16, -1)
        )
        b = (
            numbers(operands[2])
            .reshape(count, 8, 4, 2, halves)
            .transpose(0, 3, 2, 4, 1)
            .reshape(count, -1, 8)
        )
        outs = parts_of(operands[0])
        sums = parts_of(operands[3])
        c = np.stack([self.get(r, KINDS["f32"])[flat] for r in sums], -1).reshape(count, 8, 4, 2, 2)
        c = c.transpose(0, 3, 1, 2, 4).reshape(count, 16, 8)
        d = (c + a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
        d = d.reshape(count, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4).reshape(-1, 4)
        for i, register in enumerate(outs):
            value = np.zeros(self.lanes, np.float32)
            value[flat] = d[:, i]
            self.put(register, value, mask)


# ------------------------------------------------------------------------------------------ fastconv on the
# machine
CAPABILITY = (9, 0)


def compile_ptx(kernel, kinds, capability=CAPABILITY) -> str:
    """The PTX of a kernel for argument types of numba.cuda."""
    from numba import cuda
    from numba.cuda import dispatcher

    # functions that kernels call are compiled for "the device", of which the compiler asks this only
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    options = {
        k: v for k, v in kernel.targetoptions.items() if k in ("fastmath", "launch_bounds") and v is not None
    }
    return cuda.compile(kernel.py_func, kinds, device=False, cc=capability, abi="numba", **options)[0]


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
    return Program(compile_ptx(kernel, kinds))


def install(accesses=False) -> Machine:
    """Put a machine in place of the GPU for the rest of the process."""
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

    device.emulate(start, host_memory)
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

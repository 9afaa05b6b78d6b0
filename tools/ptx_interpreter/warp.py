"""Asynchronous copies, and instructions that a warp executes together: ``ldmatrix`` and ``mma``."""

from __future__ import annotations

import numpy as np

from .arithmetic import KINDS, parts_of
from .memory import FIRST, SHARED, WARP
from .program import Fault


class WarpInstructions:
    """The part of a launch that copies asynchronously and multiplies on tensor cores."""

    def do_cp(self, what, operands, mask, kind):
        if "bulk" in what:
            return self.start_box(what, operands, mask)
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
                self.land(lane[arrived], at[arrived], data[arrived])
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

    def land(self, lane, at, data):
        words = self.shared.data.reshape(-1).view(np.uint32)
        for i in range(data.shape[1]):
            place = self.shared.block[lane] * self.shared.words + at // 4 + i
            words[place] = data[:, i]
            self.shared.flying[place] = False
            self.shared.writer[place] = lane

    def whole_warps(self, mask, what):
        """The lanes of each warp that executes an instruction for whole warps."""
        if mask is None:
            return np.arange(self.lanes).reshape(-1, WARP)
        mask = mask.reshape(-1, WARP)
        if (mask.any(1) != mask.all(1)).any():
            raise Fault(f"{self.at}: {what} by a part of a warp")
        return np.arange(self.lanes).reshape(-1, WARP)[mask.all(1)]

    def do_ldmatrix(self, what, operands, mask, kind):
        warps = self.whole_warps(mask, "ldmatrix")
        registers = parts_of(operands[0])
        address = self.address(operands[1]).astype(np.int64)
        for i, register in enumerate(registers):
            lanes = warps[:, 8 * i : 8 * i + 8].reshape(-1)
            rows = address[lanes] & (SHARED - 1)
            if (rows % 16).any():
                raise Fault(f"{self.at}: ldmatrix from an address that is no multiple of 16")
            # other lanes than the one that gives the address read the row, so any writer must be a barrier
            # away
            if self.accesses:
                self.count_wavefronts(rows, 16, lanes)
            self.shared.touched(lanes, rows, 16, False, self.at)
            view, index = self.flat(self.shared.data, self.shared.block[lanes], rows, KINDS["u32"])
            words = np.stack([view(index + j) for j in range(4)], -1)
            if "trans" in what:
                words = np.ascontiguousarray(words.view(np.uint16).reshape(-1, 8, 8).transpose(0, 2, 1)).view(
                    np.uint32
                )
            words = words.reshape(-1, WARP)  # row r, word j -> lane 4 r + j
            value = np.zeros(self.lanes, np.uint32)
            value[warps.reshape(-1)] = words.reshape(-1)
            self.put(register, value, mask)

    def do_mma(self, what, operands, mask, kind):
        warps = self.whole_warps(mask, "mma")
        halves = 2 if "bf16" in what else 1
        flat = warps.reshape(-1)

        def numbers(operand):
            words = np.stack([self.get(r, KINDS["u32"])[flat] for r in parts_of(operand)], -1)
            if halves == 1:
                # tf32: the hardware ignores the lower bits
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

"""Loads and stores: global, shared and local memory, with the checks and counts of accesses."""

from __future__ import annotations

import numpy as np

from .arithmetic import as_kind, parts_of
from .program import Fault

WARP = 32
SHARED, LOCAL = 1 << 60, 1 << 61  # where the windows of shared and local memory lie among generic addresses
FIRST = 1024  # the first address of shared and local memory: not 0, so that a null pointer is outside


class Shared:
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
        """All threads of the blocks ``block`` have reached a barrier."""
        for who in (self.writer, self.reader):
            who.reshape(-1, self.words)[block] = -1

    def touched(self, lanes, address, size, writing, what):
        """Check and note one access of ``size`` bytes by each of ``lanes``."""
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
                others |= self.writer[places] != who  # another thread wrote in the same instruction
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


class MemoryInstructions:
    """The part of a launch that loads and stores."""

    def do_ld(self, what, operands, mask, kind):
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

    def do_st(self, what, operands, mask, kind):
        if what[0] == "param":
            self.passed[operands[0].strip("[] ").partition("+")[0]] = self.get(operands[1], kind)
            return
        registers = parts_of(operands[1])
        lanes = np.arange(self.lanes) if mask is None else np.flatnonzero(mask)
        view, index = self.place(what, self.address(operands[0])[lanes], kind, len(registers), lanes, True)
        for i, register in enumerate(registers):
            view(index + i, self.get(register, kind)[lanes])

    def place(self, what, address, kind, count, lanes, writing):
        """Check an access of ``count`` numbers at ``address``.

        Returns a function that reads or writes by index, and the index of the first number.
        """
        size = kind.itemsize
        if len(address) == 0:
            return (lambda i, v=None: np.empty(0, kind)), address.astype(np.int64)
        if (address % np.uint64(size * count)).any():
            raise Fault(f"{self.at}: {count} x {size} bytes at an address that is no multiple of their size")
        first = int(address[0])
        if what[0] == "shared" or first & SHARED:
            return self.place_shared(address, kind, count, lanes, writing)
        if what[0] == "local" or first & LOCAL:
            return self.flat(self.local_data, lanes, (address & np.uint64(LOCAL - 1)).astype(np.int64), kind)
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
        index = np.arange(len(address)) * 8  # of the first numbers; those of the others follow

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
        """Write global memory; several threads may write to one place only if they write the same number."""
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

    def place_shared(self, address, kind, count, lanes, writing):
        at = (address & np.uint64(SHARED - 1)).astype(np.int64)
        if (at < FIRST).any() or (at + kind.itemsize * count > self.shared.end).any():
            raise Fault(f"{self.at}: outside of shared memory")
        if self.accesses:
            self.count_wavefronts(at, kind.itemsize * count, lanes)
        self.shared.touched(lanes, at, kind.itemsize * count, writing, self.at)
        return self.flat(self.shared.data, self.shared.block[lanes], at, kind)

    def flat(self, data, row, at, kind):
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
        """Count the wavefronts of an access to shared memory.

        A quarter of a warp accesses 16 bytes per lane at a time, half a warp 8 bytes. Each takes as many
        wavefronts as there are different words in one bank.
        """
        team = lanes // (WARP // max(size // 4, 1))
        word = at[:, None] // 4 + np.arange(max(size // 4, 1))
        pairs = np.unique(np.broadcast_to(team[:, None], word.shape).astype(np.int64) << 40 | word)
        banks = np.unique(pairs >> 40 << 40 | (pairs & 31), return_counts=True)
        teams, start = np.unique(banks[0] >> 40, return_index=True)
        self.counts["wavefronts"] += int(np.maximum.reduceat(banks[1], start).sum())
        self.counts["fewest wavefronts"] += len(teams)

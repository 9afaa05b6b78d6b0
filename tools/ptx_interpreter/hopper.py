"""Instructions of Hopper: barriers in shared memory, copies of boxes by tensor maps, products by warpgroups.

A copy arrives as late as possible, when no thread can go on without it. Until then its place counts as being
written. What the products of a warpgroup read may not be written until it has waited for them. A thread that
waits for a barrier rests until something arrives somewhere.

A tensor map is opaque; the driver makes it. Here it is the record ``TENSOR_MAP``, in the same 128 bytes.
"""

from __future__ import annotations

import numpy as np

from .arithmetic import KINDS, parts_of
from .memory import FIRST, WARP
from .program import Fault

GROUP = 4 * WARP
THERE = 1 << 24  # from the addresses of a block to those of the next block of the cluster

TENSOR_MAP = np.dtype(
    [
        ("address", "u8"),
        ("dims", "u4", 5),  # fastest first; dimensions that are not used are 1
        ("strides", "u8", 5),  # in bytes
        ("box", "u2", 5),  # numbers along the line, lines (of im2col: pixels)
        ("kind", "u1"),  # as the driver counts them: 7 float32, 9 bfloat16, 11 tf32
        ("rank", "u1"),
        ("im2col", "u1"),
        ("lower", "i1", 3),
        ("upper", "i1", 3),
        ("step", "u1", 3),
        ("padding", "u1", 38),
    ]
)
SIZES = {7: 4, 9: 2, 11: 4}


def encode(m):
    """A ``TensorMap`` of ``runtime/tensor_map.py`` as such a record."""
    record = np.zeros(1, TENSOR_MAP)
    record["dims"] = 1
    record["address"], record["rank"], record["im2col"] = m.address, len(m.dims), bool(m.step)
    record["kind"] = {"float32": 7, "bf16": 9, "tf32": 11}[m.kind]
    record["box"] = 1
    record["box"][0, : len(m.box)] = m.box
    for name in ("dims", "strides", "lower", "upper", "step"):
        record[name][0, : len(getattr(m, name))] = getattr(m, name)
    line = m.box[0] * SIZES[int(record["kind"][0])]
    corners = (*m.lower, *m.upper, 0)
    if (
        any(n % 16 for n in (m.address, *m.strides))
        or line != 128
        or max(m.box[1:]) > (1024 if m.step else 256)
        or not -128 <= min(corners) <= max(corners) <= 127
        or max(m.step, default=1) > 8
    ):
        raise Fault(f"the driver makes no tensor map of {m}")
    return record.view(np.uint64)


def swizzled(lines):
    """Lines of 128 bytes, from a multiple of 1024 on, as they lie in shared memory; its own inverse."""
    pieces = lines.reshape(-1, 8, 16)
    row = np.arange(len(pieces))
    return pieces[row[:, None], np.arange(8) ^ row[:, None] % 8].reshape(lines.shape)


def _tf32(x):
    """Rounded as copies do; the way of ties is not documented."""
    return (x + np.uint32(0xFFF) + (x >> np.uint32(13) & np.uint32(1))) & np.uint32(0xFFFFE000)


class _Barrier:
    def __init__(self, count):
        self.count, self.pending, self.bytes, self.phase = count, count, 0, 0

    def settle(self, at):
        if self.pending < 0:
            raise Fault(f"{at}: more arrivals at a barrier than it expects")
        if self.pending == 0 and self.bytes == 0:
            self.phase, self.pending = self.phase + 1, self.count


class HopperInstructions:
    """The part of a launch that uses barriers, tensor maps and warpgroups."""

    def start_hopper(self, cluster):
        self.cluster, self.barriers, self.boxes = cluster, {}, []
        self.resting = np.zeros(self.lanes, bool)
        self.reading = {}  # by warpgroup: lists of ranges of shared memory that pending products read

    # ------------------------------------------------------------ barriers
    def _barrier(self, lane, address):
        block = int(self.shared.block[lane])
        rank, address = divmod(address, THERE)
        if rank:  # from the first block of the cluster on
            block = block // self.cluster * self.cluster + rank - 1
        return block, address

    def do_mbarrier(self, what, operands, mask, kind):
        lanes = np.arange(self.lanes) if mask is None else np.flatnonzero(mask)
        if what[0] == "init":
            for lane, address, count in zip(lanes, self._u32(operands[0]), self._u32(operands[1])):
                self.barriers[self._barrier(lane, address)] = _Barrier(count)
            return
        where = self._u32(operands[1 if what[0] in ("arrive", "try_wait") else 0])
        if what[0] == "arrive":
            expected = self._u32(operands[2]) if "expect_tx" in what else np.zeros(self.lanes, int)
            for lane in lanes:
                barrier = self._known(lane, where[lane])
                barrier.bytes += int(expected[lane])
                barrier.pending -= 1
                barrier.settle(self.at)
            self.resting[:] = False
            return
        parity = self._u32(operands[2])
        done = np.zeros(self.lanes, bool)
        for lane in lanes:
            done[lane] = self._known(lane, where[lane]).phase % 2 != parity[lane] % 2
        self.resting[lanes] = ~done[lanes]
        blocks = np.unique(self.shared.block[lanes[done[lanes]]])
        if len(blocks):  # what others wrote before they arrived may be read now
            self.shared.barrier(np.isin(np.arange(self.blocks), blocks))
        self.put(operands[0], done, mask)

    def _u32(self, operand):
        return self.get(operand.strip("[] "), KINDS["u32"]).astype(np.int64)

    def _known(self, lane, address):
        place = self._barrier(lane, int(address))
        if place not in self.barriers:
            raise Fault(f"{self.at}: there is no barrier at {place}")
        return self.barriers[place]

    def do_mapa(self, what, operands, mask, kind):
        there = self._u32(operands[1]) + THERE * (self._u32(operands[2]) + 1)
        self.put(operands[0], there.astype(np.uint32), mask)

    def do_fence(self, what, operands, mask, kind):
        pass

    # ------------------------------------------------------------ copies of boxes
    def start_box(self, what, operands, mask):
        lanes = np.arange(self.lanes) if mask is None else np.flatnonzero(mask)
        to, bar = self._u32(operands[0]), self._u32(operands[2])
        place, *start = (o.strip("{} ") for o in operands[1].strip("[] ").replace("{", "").split(","))
        maps = self.get(place, KINDS["u64"])
        start = [self.get(s, KINDS["u32"]).view(np.int32) for s in start]
        im2col, to_all = "im2col" in what, "multicast" in what
        taps = [self._u32(o) for o in parts_of(operands[3])] if im2col else []
        which = self._u32(operands[3]) if to_all else None
        for lane in lanes:
            view, index = self.place(("global",), maps[lane : lane + 1], KINDS["u64"], 16, lanes[:1], False)
            raw = np.array([view(index + i)[0] for i in range(16)], np.uint64)
            tensor = raw.view(TENSOR_MAP)[0]
            at = [int(s[lane]) for s in start]
            if bool(tensor["im2col"]) != im2col or tensor["rank"] != len(at):
                raise Fault(f"{self.at}: the tensor map is of another kind")
            lines = (
                self._im2col(tensor, at, [int(t[lane]) for t in taps]) if im2col else self._tiled(tensor, at)
            )
            image = swizzled(lines)
            block = int(self.shared.block[lane])
            first = block // self.cluster * self.cluster
            goals = [first + i for i in range(16) if which[lane] >> i & 1] if to_all else [block]
            if to[lane] % 1024:
                raise Fault(f"{self.at}: a swizzled box to an address that is no multiple of 1024")
            for goal in goals:
                self._announce(goal, int(to[lane]), image.size)
                self.boxes.append((goal, int(to[lane]), image.reshape(-1), (goal, int(bar[lane]))))

    def _announce(self, block, to, size):
        if to < FIRST or to + size > self.shared.end:
            raise Fault(f"{self.at}: a box to outside of shared memory")
        for group, pending in self.reading.items():
            if group // (self.threads // GROUP + 1) != block:
                continue
            for ranges in pending:
                if any(start < to + size and to < end for start, end in ranges):
                    raise Fault(f"{self.at}: a box to memory that products still read")
        words = block * self.shared.words + np.arange(to // 4, (to + size) // 4)
        if self.shared.flying[words].any():
            raise Fault(f"{self.at}: two boxes to one place")
        self.shared.flying[words] = True
        self.shared.data[block, to : to + size] = 0xFF  # NaN

    def arrive_boxes(self):
        """All boxes that are on their way arrive; whether there were any."""
        boxes, self.boxes = self.boxes, []
        for block, to, data, place in boxes:
            self.shared.data[block, to : to + data.size] = data
            words = block * self.shared.words + np.arange(to // 4, (to + data.size) // 4)
            self.shared.flying[words], self.shared.known[words] = False, True
            self.shared.writer[words] = -1
            if place not in self.barriers:
                raise Fault(f"{self.name}: a box arrives at no barrier")
            barrier = self.barriers[place]
            barrier.bytes -= data.size
            barrier.settle(self.name)
        self.resting &= not boxes
        return bool(boxes)

    def _gather(self, tensor, index, inside):
        """Lines of the numbers at ``index`` (per dimension, arrays that broadcast to lines x numbers)."""
        kind, size = int(tensor["kind"]), SIZES[int(tensor["kind"])]
        strides = [size, *(int(s) for s in tensor["strides"][: tensor["rank"] - 1])]
        offset = sum(i.astype(np.int64) * s for i, s in zip(index, strides))
        offset, inside = np.broadcast_arrays(offset, inside)
        word = KINDS[f"u{8 * size}"]
        values = np.zeros(offset.shape, word)
        address = (np.uint64(tensor["address"]) + offset[inside].astype(np.uint64)).astype(np.uint64)
        view, at = self.place(("global",), address, word, 1, np.zeros(address.size, np.int64), False)
        values[inside] = view(at)
        if kind == 11:
            values = _tf32(values)
        return values.view(np.uint8).reshape(len(values), -1)

    def _tiled(self, tensor, at):
        box = [int(n) for n in tensor["box"][: len(at)]]
        line = np.arange(np.prod(box[1:], dtype=np.int64))
        index = [at[0] + np.arange(box[0])[None, :]]
        for start, size in zip(at[1:], box[1:]):
            index.append((start + line % size)[:, None])
            line = line // size
        inside = True
        for i, n in zip(index, tensor["dims"]):
            inside = inside & (i >= 0) & (i < int(n))
        return self._gather(tensor, index, inside)

    def _im2col(self, tensor, at, taps):
        """Base pixels walk from ``at`` through the box between the corners, row by row and image by image."""
        rank = int(tensor["rank"])
        c, *pixel, n = at
        spatial = range(rank - 2)
        limits = [int(tensor["dims"][i + 1]) - 1 + int(tensor["upper"][i]) for i in spatial]
        places = []
        for _ in range(int(tensor["box"][1])):
            places.append((*pixel, n))
            for i in spatial:
                pixel[i] += int(tensor["step"][i])
                if pixel[i] <= limits[i]:
                    break
                pixel[i] = int(tensor["lower"][i])
            else:
                n += 1
        places = np.array(places).T
        index = [c + np.arange(tensor["box"][0])[None, :]]
        index += [(places[i] + taps[i])[:, None] for i in spatial] + [places[-1][:, None]]
        inside = True
        for i, size in zip(index, tensor["dims"]):
            inside = inside & (i >= 0) & (i < int(size))
        return self._gather(tensor, index, inside)

    # ------------------------------------------------------------ products of warpgroups
    def _groups(self, mask):
        """The warpgroups that execute an instruction for whole warpgroups, as block, number and lanes."""
        active = np.ones(self.lanes, bool) if mask is None else mask
        for block in np.unique(self.shared.block[active]):
            first = block * self.threads
            for group in range(-(-self.threads // GROUP)):
                lanes = np.arange(first + group * GROUP, first + min((group + 1) * GROUP, self.threads))
                if not active[lanes].any():
                    continue
                if not active[lanes].all() or len(lanes) < GROUP:
                    raise Fault(f"{self.at}: by a part of a warpgroup")
                yield int(block), group, lanes

    def do_wgmma(self, what, operands, mask, kind):
        if what[0] in ("fence", "commit_group"):
            if what[0] == "commit_group":
                for block, group, _ in self._groups(mask):
                    self._pending(block, group).append([])
            return
        if what[0] == "wait_group":
            for block, group, _ in self._groups(mask):
                pending = self._pending(block, group)
                del pending[: max(len(pending) - 1 - int(operands[0]), 0)]
            return
        shape = what[3]
        columns, bf16 = int(shape[shape.index("n") + 1 : shape.index("k")]), "bf16" in what
        sums = parts_of(operands[0])
        a, b = (self.get(o, KINDS["u64"]) for o in operands[1:3])
        transposed = [int(o) for o in operands[6:8]] if bf16 else [0, 0]
        results = np.zeros((len(sums), self.lanes), np.float32)
        for block, group, lanes in self._groups(mask):
            left = self._operand(block, group, int(a[lanes[0]]), 64, transposed[0], bf16)
            right = self._operand(block, group, int(b[lanes[0]]), columns, transposed[1], bf16)
            c = np.stack([self.get(r, KINDS["f32"])[lanes] for r in sums])
            # [j, half, i] x [warp, g, t] -> rows 16 warp + 8 half + g, columns 8 j + 2 t + i
            c = c.reshape(-1, 2, 2, 4, 8, 4).transpose(3, 1, 4, 0, 5, 2).reshape(64, columns)
            d = (c + left.astype(np.float64) @ right.astype(np.float64).T).astype(np.float32)
            d = d.reshape(4, 2, 8, -1, 4, 2).transpose(3, 1, 5, 0, 2, 4).reshape(len(sums), GROUP)
            results[:, lanes] = d
        for register, value in zip(sums, results):
            self.put(register, value, mask)

    def _pending(self, block, group):
        """Ranges read by the products of each commit that was not waited for, the last one still open."""
        return self.reading.setdefault(block * (self.threads // GROUP + 1) + group, [[]])

    def _operand(self, block, group, descriptor, rows, transposed, bf16):
        """The numbers that a descriptor names, rows x k, of one product."""
        if descriptor >> 62 != 1 or descriptor >> 49 & 7:
            raise Fault(f"{self.at}: a descriptor of another layout than lines of 128 bytes")
        start, leading, stride = ((descriptor >> s & 0x3FFF) << 4 for s in (0, 16, 32))
        row = np.arange(rows)[:, None]
        if transposed:
            k = np.arange(16)[None, :]
            at = start + row // 64 * leading + k // 8 * stride + k % 8 * 128 + row % 64 * 2
            at = at[:, :, None] + np.arange(2)
        else:
            at = (start + row // 8 * stride + row % 8 * 128)[:, :, None] + np.arange(32).reshape(
                1, -1, 2 if bf16 else 4
            )
        at = at ^ (at >> 7 & 7) << 4
        if at.min() < FIRST or at.max() >= self.shared.end:
            raise Fault(f"{self.at}: products of what lies outside of shared memory")
        words = block * self.shared.words + at // 4
        if self.shared.flying[words].any():
            raise Fault(f"{self.at}: products of a box that has not been waited for")
        if not self.shared.known[words].all():
            raise Fault(f"{self.at}: products of what nobody has written")
        self._pending(block, group)[-1].append((int(at.min()), int(at.max()) + 1))
        data = np.ascontiguousarray(self.shared.data[block][at]).reshape(rows, -1)
        if bf16:
            return (data.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
        return (data.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

"""The text of a kernel, read into blocks of instructions."""

from __future__ import annotations

import re

from .arithmetic import KINDS, NAME


class Fault(RuntimeError):
    """Something that a device would not do as meant."""


def _apart(body):
    """The text with the registers and labels of each inner scope renamed, so that none clash."""

    def renamed(scope):
        text = scope[0]
        names = re.findall(rf"({NAME}):", text)
        for registers in re.findall(r"\.reg \.\w+\s+([^;]*);", text):
            names += re.findall(NAME, registers)
        for name in names:
            text = re.sub(rf"(?<![\w$%.]){re.escape(name)}(?![\w$%.])", f"{name}_{scope.start()}", text)
        return text

    return re.sub(r"\{\s*\.reg[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", renamed, body)


class Program:
    """The text of one kernel as basic blocks.

    An instruction is ``(predicate, wanted value, parts of the opcode, operands)``.
    """

    def __init__(self, text: str):
        self.shared = {
            m[1]: int(m[2] or 0) for m in re.finditer(rf"\.shared \.align \d+ \.b8 ({NAME})\[(\d*)\]", text)
        }
        cluster = re.search(r"\.reqnctapercluster (\d+)", text)
        self.cluster = int(cluster[1]) if cluster else 1
        entry = re.search(rf"\.entry {NAME}\(([^)]*)\)[^{{]*\n\{{(.*?)\n\}}", text, re.S)
        self.params = [(m[2], KINDS[m[1]]) for m in re.finditer(rf"\.param \.(\w+) ({NAME})", entry[1])]
        self.registers, self.local = {}, {}
        self.blocks, self.labels = [[]], {}
        body = re.sub(r"//.*", "", entry[2])
        body = _apart(body)
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
        elif register := re.fullmatch(rf"\.reg \.(\w+)\s+({NAME}(?:, {NAME})*)(?:<(\d+)>)?", line):
            names = register[2].split(", ")
            names = [f"{n}{i}" for n in names for i in range(int(register[3]))] if register[3] else names
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

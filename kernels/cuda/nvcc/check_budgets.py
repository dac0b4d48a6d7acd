"""Checks what ptxas made of each kernel against a table of budgets, and prints both.

usage: check_budgets.py BUDGETS OBJECT...

The report of OBJECT (nvcc -Xptxas=-v) lies in OBJECT.ptxas. A kernel that no line of the table
covers, one that uses more than its budget and one that uses local memory (spilled registers, or an
array that is not in registers) fail the check, and so do a line that covers no kernel and a kernel
that was not compiled for each of the ARCHITECTURES.
"""

import dataclasses
import fnmatch
import pathlib
import re
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
LOCAL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
NAMESPACES = re.compile(r"\(anonymous namespace\)::|\b(?!std\b)[a-z_]\w*::")
# Of A100s and H100s; newer ones depend on the toolkit.
ARCHITECTURES = ("sm_80", "sm_90a")
TYPES = {"__nv_bfloat16": "bf16", "__half": "f16"}


@dataclasses.dataclass
class Usage:
    """What a kernel needs on one architecture."""

    symbol: str
    arch: str
    registers: int | None = None
    shared_bytes: int = 0
    local_bytes: int = 0
    kernel: str = ""


@dataclasses.dataclass
class Budget:
    """A line of the table; patterns in the shell's manner."""

    line: int
    kernel: str
    arch: str
    registers: int
    shared_bytes: int

    def covers(self, usage):
        return fnmatch.fnmatchcase(usage.arch, self.arch) and self.covers_kernel(usage)

    def covers_kernel(self, usage):
        return fnmatch.fnmatchcase(usage.kernel, self.kernel)


def parse_report(text):
    """The Usage of every kernel in one report of ptxas, named by its symbol."""
    usages = []
    for line in text.splitlines():
        if match := ENTRY.search(line):
            usages.append(Usage(*match.groups()))
        elif not usages:
            continue
        elif match := LOCAL.search(line):
            # Functions that were not inlined follow the kernel that calls them.
            usages[-1].local_bytes = max(usages[-1].local_bytes, *map(int, match.groups()))
        elif match := REGISTERS.search(line):
            usages[-1].registers = int(match[1])
            if match := SHARED.search(line):
                usages[-1].shared_bytes = int(match[1])
    for usage in usages:
        if usage.registers is None:
            raise ValueError(f"the report does not say how many registers {usage.symbol} uses")
    return usages


def short_name(demangled):
    """A kernel's name and template arguments, without result, namespaces and parameters."""
    name = NAMESPACES.sub("", demangled.removeprefix("void "))
    depth = 0
    for place, character in enumerate(name):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and depth == 0:
            name = name[:place]
            break
    for long, short in TYPES.items():
        name = name.replace(long, short)
    return name


def name_kernels(usages):
    """Fills in Usage.kernel."""
    symbols = "".join(usage.symbol + "\n" for usage in usages)
    names = subprocess.run(["c++filt"], input=symbols, check=True, capture_output=True, text=True)
    for usage, name in zip(usages, names.stdout.splitlines(), strict=True):
        usage.kernel = short_name(name)


def parse_budgets(text):
    """The table's lines: KERNEL | ARCHITECTURE | REGISTERS | SHARED BYTES, '#' for comments."""
    budgets = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 4 or not all(cells) or not all(cell.isdecimal() for cell in cells[2:]):
            raise ValueError(
                f"line {number} of the budgets: kernel | architecture | registers | shared bytes"
            )
        budgets.append(Budget(number, cells[0], cells[1], int(cells[2]), int(cells[3])))
    return budgets


def excess(usage, budget):
    """What is wrong with a kernel, as printable lines."""
    where = f"{usage.kernel} on {usage.arch}"
    if budget is None:
        return [
            f"{where}: no line of the budgets covers it (registers: {usage.registers}, "
            f"shared bytes: {usage.shared_bytes})"
        ]
    found = []
    if usage.registers > budget.registers:
        found.append(f"{where}: {usage.registers} registers, the budget is {budget.registers}")
    if usage.shared_bytes > budget.shared_bytes:
        found.append(
            f"{where}: {usage.shared_bytes} bytes of shared memory, the budget is "
            f"{budget.shared_bytes}"
        )
    if usage.local_bytes:
        found.append(
            f"{where}: {usage.local_bytes} bytes of local memory (spilled registers, or an array "
            "that is indexed by something unknown at compile time), always too much"
        )
    return found


def budget_of(usage, budgets):
    return next((budget for budget in budgets if budget.covers(usage)), None)


def check(usages, budgets):
    """What is wrong, as printable lines."""
    wrong = []
    for usage in usages:
        wrong += excess(usage, budget_of(usage, budgets))
    for budget in budgets:
        if not any(budget.covers_kernel(usage) for usage in usages):
            wrong.append(f"line {budget.line} of the budgets covers no kernel: {budget.kernel}")
    for kernel in sorted({usage.kernel for usage in usages}):
        compiled = {usage.arch for usage in usages if usage.kernel == kernel}
        wrong += [
            f"{kernel} was not compiled for {arch}" for arch in ARCHITECTURES if arch not in compiled
        ]
    if not usages:
        wrong.append("the reports name no kernel: was nvcc called with -Xptxas=-v?")
    return wrong


def table(usages, budgets):
    """A line for each kernel, a column for each architecture: used/budget."""
    rows = {}
    for usage in usages:
        budget = budget_of(usage, budgets) or Budget(0, "", "", "none", "none")
        rows.setdefault(usage.kernel, {})[usage.arch] = (
            f"{usage.registers}/{budget.registers} {usage.shared_bytes}/{budget.shared_bytes}"
        )
    archs = sorted({usage.arch for usage in usages}, key=lambda arch: int(re.sub(r"\D", "", arch)))
    lines = [["registers, shared bytes", *archs]]
    lines += [[name, *(row.get(arch, "") for arch in archs)] for name, row in sorted(rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def main(arguments):
    budgets_path, *objects = arguments
    usages = []
    for name in objects:
        usages += parse_report(pathlib.Path(name + ".ptxas").read_text(encoding="utf-8"))
    name_kernels(usages)
    budgets = parse_budgets(pathlib.Path(budgets_path).read_text(encoding="utf-8"))
    print("\n".join(table(usages, budgets)))
    wrong = check(usages, budgets)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if wrong:
        print(f"       the budgets, made with nvcc 13.0: {budgets_path}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What was found, as JSON and as Markdown."""

import json
import math
import pathlib

PEERS = (
    "eager",
    "compile",
    "padded compile",
    "sdpa",
    "varlen",
    "cudnn",
    "flex",
    "varlen eager",
    "varlen compile",
)

# How a section ends that the machine has no program for, which is no fault.
NOT_THERE = "not run: there is no "
# Of a profile.
SHOWN_KERNELS = 12
# Cases that are whole models.
MODELS = {"bert", "vit"}


def line(result: dict) -> str:
    """One case in a line of progress."""
    if "failed" in result:
        return f"FAILED: {result['failed']}"
    agreement = f"error {result['error']:.2g} of {result['allowed']:.2g} allowed"
    if not result["agrees"]:
        agreement = f"DIFFERS: {agreement}"
    times = result.get("times", {})
    return ", ".join(
        [agreement, *(f"{name} {measured['us']:.2f} us" for name, measured in times.items())]
    )


def what_is_wrong(found: dict) -> list[str]:
    wrong = list(found["problems"])
    if (tests := found.get("tests")) and tests["ended"] != "passed":
        wrong.append(f"tests: {tests['ended']}, failed: {', '.join(tests.get('failed', []))}")
    for tool, result in found.get("sanitizer", {}).items():
        if result["ended"] != "passed" and not result["ended"].startswith(NOT_THERE):
            wrong.append(f"{tool}: {result['ended']}")
    for case in found["cases"]:
        result = case["result"]
        if "failed" in result or not result["agrees"]:
            wrong.append(f"{case['kernel']} {case['shape']} {case['dtype']}: {line(result)}")
    missing = found.get("planned", 0) - len(found["cases"])
    if missing:
        wrong.append(f"{missing} cases were not run")
    return wrong


def floor_us(result: dict, dtype: str, ceilings: dict) -> float:
    """What no kernel can beat here: the bytes at the memory's speed, the work at matmul's, or what
    the smallest kernel takes."""
    by_memory = result["bytes"] / ceilings["memory_gb_s"] / 1e3
    by_work = result["flop"] / ceilings[f"{dtype}_tflop_s"] / 1e6
    return max(by_memory, by_work, ceilings["smallest_kernel_us"])


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def case_row(case: dict, peers: list[str], ceilings: dict) -> list[str]:
    result = case["result"]
    row = [case["shape"], case["dtype"]]
    if "failed" in result:
        return [*row, "FAILED: " + result["failed"].replace("|", "/").replace("\n", " ")]
    times = result.get("times", {})
    agreement = "yes" if result["agrees"] else "**no**"
    errors = f"{result['error']:.1e} ({result['allowed']:.1e})"
    if "ours" not in times or not ceilings:
        return [*row, "", "", "", "", *("" for _ in peers), agreement, errors]
    ours, floor = times["ours"]["us"], floor_us(result, case["dtype"], ceilings)
    shown = []
    for name in peers:
        if name in times:
            mark = "" if name not in result["peers_differ"] else " (differs)"
            mark += "" if times[name].get("captured", True) else " (no graph)"
            shown.append(f"{number(times[name]['us'])} ({times[name]['us'] / ours:.2f}x){mark}")
        else:
            shown.append("failed" if name in result["peers_failed"] else "")
    ours_shown = number(ours)
    if inputs := result.get("inputs"):
        ours_shown += f" ({inputs / ours * 1e6:,.0f} inputs/s)"
    cached = number(times["ours cached"]["us"]) if "ours cached" in times else ""
    ours_columns = [ours_shown, cached, number(floor), f"{ours / floor:.2f}"]
    return [*row, *ours_columns, *shown, agreement, errors]


def kernel_table(kernel: str, cases: list[dict], ceilings: dict) -> list[str]:
    named = {name for case in cases for name in case["result"].get("peer_errors", {})}
    peers = [name for name in PEERS if name in named] + sorted(named - set(PEERS))
    header = ["shape", "dtype", "ours us", "cached us", "floor us", "ours / floor"]
    header += [f"{name} us (/ ours)" for name in peers] + ["agrees", "error (allowed)"]
    rows = [case_row(case, peers, ceilings) for case in cases]
    return ["", f"### {kernel}", "", *table(header, rows)]


def profile_table(case: dict) -> list[str]:
    """The kernels that take most of a model's time, of each contender."""
    lines = []
    for name, kernels in case.get("profile", {}).items():
        total = sum(kernel["us"] for kernel in kernels)
        rows = [
            [
                short_name(kernel["name"]),
                f"{kernel['launches']:g}",
                number(kernel["us"]),
                f"{kernel['us'] / total:.0%}",
            ]
            for kernel in kernels[:SHOWN_KERNELS]
        ]
        title = f"#### {case['shape']} {case['dtype']}, {name}: {number(total)} us on the GPU"
        lines += ["", title, "", *table(["kernel", "launches", "us", "share"], rows)]
    return lines


def short_name(kernel: str) -> str:
    name = kernel.removeprefix("void ").replace("contextpool::kernels::cuda::", "")
    name = name.replace("(anonymous namespace)::", "").replace("|", "/").replace("at::native::", "")
    return f"`{name[:90]}`"


def ratios(found: dict) -> list[str]:
    """Geometric means over a kernel's cases."""
    lines = []
    for kernel in dict.fromkeys(case["kernel"] for case in found["cases"]):
        to_floor, to_peers = [], {}
        for case in found["cases"]:
            times = case["result"].get("times", {})
            if case["kernel"] != kernel or "ours" not in times:
                continue
            ours = times["ours"]["us"]
            to_floor.append(ours / floor_us(case["result"], case["dtype"], found["ceilings"]))
            for name in set(times) - {"ours", "ours cached"}:
                to_peers.setdefault(name, []).append(times[name]["us"] / ours)
        if to_floor:
            peers = ", ".join(
                f"{name} {mean(to_peers[name]):.2f}" for name in PEERS if name in to_peers
            )
            lines.append([kernel, str(len(to_floor)), f"{mean(to_floor):.2f}", peers])
    if not lines:
        return []
    header = ["kernel", "cases", "ours / floor", "PyTorch / ours"]
    return ["", "## Means", "", "Geometric, over the cases below.", "", *table(header, lines)]


def mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def markdown(found: dict) -> list[str]:
    versions, ceilings = found.get("versions", {}), found.get("ceilings", {})
    facts = {
        "date": found["date"],
        "mode": found["mode"],
        **versions,
        "driver, largest clock": found["driver"],
        "host": found["host"],
        **{f"build: {key}": value for key, value in found.get("build", {}).items()},
        **{key: number(value) for key, value in ceilings.items()},
        "seconds": found.get("seconds", "not finished"),
    }
    lines = ["# GPU check", "", *table(["", ""], [[key, str(v)] for key, v in facts.items()])]
    wrong = what_is_wrong(found)
    lines += ["", "## Wrong", "", *(f"* {line}" for line in wrong or ["nothing"])]
    lines += ["", "## Tests", ""]
    if tests := found.get("tests"):
        lines.append(f"* kernels_cuda_test: {tests['ended']}, {tests.get('passed', 0)} passed")
    for tool, result in found.get("sanitizer", {}).items():
        lines.append(f"* {tool}: {result['ended']} {' '.join(result.get('summary', []))}")
    lines += ratios(found)
    lines += [
        "",
        "## Kernels",
        "",
        "Medians of a call, captured with many others in a CUDA graph, inputs rotated; cached: the",
        "same inputs again and again. The floor is the largest of bytes / memory_gb_s, FLOP /",
        "tflop_s and smallest_kernel_us. Agreement: the largest difference from the formula in",
        "float32 is at most twice that of eager PyTorch in the same type.",
    ]
    by_kernel = {case["kernel"]: [] for case in found["cases"]}
    for case in found["cases"]:
        by_kernel[case["kernel"]].append(case)
    for kernel, cases in by_kernel.items():
        if kernel not in MODELS:
            lines += kernel_table(kernel, cases, ceilings)
    lines += [
        "",
        "## Whole models",
        "",
        "Medians of a call that takes inputs on the host and waits for embeddings there, random",
        'weights. "compile": PyTorch with compiled layers in a CUDA graph. Floor: that of the',
        "layers' matrix products, or of reading their weights.",
    ]
    for kernel in sorted(MODELS & set(by_kernel)):
        lines += kernel_table(kernel, by_kernel[kernel], ceilings)
    for case in found["cases"]:
        lines += profile_table(case)
    failed = {
        f"{case['kernel']} {case['shape']}, {name}: {why}"
        for case in found["cases"]
        for name, why in case["result"].get("peers_failed", {}).items()
    }
    if failed:
        flat = (" ".join(entry.split()) for entry in sorted(failed))
        lines += ["", "## Peers that failed", "", *(f"* {entry}" for entry in flat)]
    return lines


def write(found: dict, folder: pathlib.Path) -> None:
    """Whole or not at all: each file is replaced by a finished one."""
    for name, text in (
        ("report.json", json.dumps(found, indent=1)),
        ("report.md", "\n".join(markdown(found)) + "\n"),
    ):
        new = folder / f"{name}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(folder / name)

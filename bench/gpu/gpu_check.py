"""Tests the CUDA kernels on a GPU and measures them beside PyTorch: report.md, report.json.

usage: gpu_check.py [--quick] [--only CASES] [--out FOLDER] [--minutes LIMIT] [SECTION...]

The sections, in this order:
  tests      the kernels' own tests (kernels_cuda_test)
  kernels    every kernel against the formula, its floor and PyTorch
  sanitizer  compute-sanitizer memcheck and racecheck on a selection of the tests, where it exists

Everything that is found is written at once; whatever fails or takes too long is noted, and the rest
goes on. The exit status is 0 if all that was asked ran, passed and agreed.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

import plan
import report
import supervise

HERE = pathlib.Path(__file__).resolve().parent
SECTIONS = ("tests", "kernels", "sanitizer")
# Seconds at most: of all, of the tests, of a sanitizer's run, of a case.
LIMITS = {
    "quick": {"all": 90, "tests": 30, "sanitizer": 20, "case": 45},
    "full": {"all": 540, "tests": 120, "sanitizer": 60, "case": 60},
    "dry-run": {"all": 300, "case": 60},
}
# Of each kernel a test that is quick under a sanitizer.
SANITIZED_TESTS = "*OnEverySchedule*:*ActivatesTheSum*"


@dataclasses.dataclass
class Check:
    mode: str
    folder: pathlib.Path
    out: pathlib.Path
    end: float
    found: dict
    limits: dict[str, float]
    # Regular expression of the cases' names.
    only: str = ""

    @property
    def dry(self) -> bool:
        return self.mode == "dry-run"

    def left(self, limit: str) -> float:
        """Seconds that a part may take."""
        return min(self.limits[limit], self.end - time.monotonic())

    def save(self) -> None:
        report.write(self.found, self.out)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.found['began']:6.1f} s] {text}", flush=True)


def set_environment(folder: pathlib.Path) -> None:
    """What kernels_cuda_test looks for: the golden files of whole models, and cuBLASLt, which lies in
    a package beside PyTorch where no toolkit is installed."""
    os.environ["CONTEXTPOOL_SOURCE_DIR"] = str(folder)
    folders = filter(None, [os.environ.get("LD_LIBRARY_PATH"), *cuda_folders(sys.path)])
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(folders)


def cuda_folders(places: list[str]) -> list[str]:
    """Folders of CUDA's libraries among installed packages."""
    return [
        str(library.parent)
        for place in places
        for library in sorted(pathlib.Path(place).glob("nvidia/*/lib/libcublasLt.so.*"))
    ]


def run_program(arguments: list[str], seconds: float) -> tuple[str, str]:
    """(How it ended, what it printed): "passed", "failed (1)" or "took too long"."""
    if seconds <= 0:
        return "not run: no time left", ""
    result = supervise.run(arguments, seconds)
    if result.timed_out:
        return f"took more than {seconds:.0f} s", result.output
    return "passed" if result.status == 0 else f"failed ({result.status})", result.output


def run_tests(check: Check) -> None:
    program = check.folder / "kernels_cuda_test"
    if not program.exists():
        check.found["tests"] = {"ended": report.NOT_THERE + "kernels_cuda_test"}
        return
    ended, output = run_program([str(program), "--gtest_brief=1"], check.left("tests"))
    passed = re.search(r"\[  PASSED  \] (\d+) test", output)
    failed = sorted(set(re.findall(r"\[  FAILED  \] ([\w/.]+)", output)))
    check.found["tests"] = {
        "ended": ended,
        "passed": int(passed[1]) if passed else 0,
        "failed": failed,
        "output": output[-20000:],
    }
    check.say(
        f"tests: {ended}, {check.found['tests']['passed']} passed, failed: {failed or 'none'}"
    )


def run_sanitizer(check: Check) -> None:
    found = check.found["sanitizer"] = {}
    program = find_sanitizer()
    for tool in ("memcheck", "racecheck"):
        if program is None:
            found[tool] = {"ended": report.NOT_THERE + "compute-sanitizer"}
            continue
        ended, output = run_program(
            [
                program,
                f"--tool={tool}",
                "--error-exitcode=9",
                str(check.folder / "kernels_cuda_test"),
                f"--gtest_filter={SANITIZED_TESTS}",
                "--gtest_brief=1",
            ],
            check.left("sanitizer"),
        )
        summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", output)
        found[tool] = {"ended": ended, "summary": summary, "output": output[-20000:]}
        check.say(f"{tool}: {ended} {' '.join(summary)}")


def find_sanitizer() -> str | None:
    return shutil.which("compute-sanitizer") or next(
        (
            str(path)
            for path in sorted(pathlib.Path("/usr/local").glob("cuda*/bin/compute-sanitizer"))
        ),
        None,
    )


def run_kernels(check: Check, worker: pathlib.Path = HERE / "worker.py") -> None:
    """The plan, by workers: a new one goes on after the case at which one was lost."""
    planned = plan.chosen(check.mode, check.only)
    library = "libgpu_check_emulated.so" if check.dry else "libgpu_check.so"
    check.found["planned"] = len(planned)
    while (done := len(check.found["cases"])) < len(planned):
        if check.left("all") <= 5:
            check.say(f"no time left for {len(planned) - done} of {len(planned)} cases")
            return
        arguments = [sys.executable, "-B", str(worker), f"--plan={check.mode}"]
        arguments += [f"--only={check.only}"]
        arguments += [f"--library={check.folder / library}", f"--skip={done}"]
        arguments += ["--device=cpu" if check.dry else "--device=cuda"]
        if "ceilings" not in check.found:
            arguments.append("--ceilings")
        progress = Progress(check, planned)
        ended = supervise.follow(arguments, progress.take, progress.limit, check.out)
        if len(check.found["cases"]) == len(planned):
            return
        if progress.begun:
            # It ended in the middle of a case.
            progress.finish({"failed": ended})
        elif len(check.found["cases"]) == done:
            check.found["problems"].append(f"the worker ended before its first case: {ended}")
            check.say(check.found["problems"][-1])
            return


class Progress:
    """What one worker says."""

    def __init__(self, check: Check, planned: list[plan.Planned]) -> None:
        self.check = check
        self.planned = planned
        self.begun = False
        # Until the first case begins: PyTorch's start and the ceilings.
        self.case_end = time.monotonic() + 90

    def limit(self) -> float:
        return min(self.case_end, self.check.end)

    def take(self, said: dict) -> None:
        found = self.check.found
        for key in ("versions", "ceilings"):
            if key in said:
                found[key] = found.get(key, {}) | said[key]
                self.check.say(f"{key}: {json.dumps(said[key])}")
        if "begin" in said:
            self.begun = True
            self.case_end = time.monotonic() + self.check.limits["case"]
        if "result" in said:
            # What follows a whole case adds to it, and cannot fail it.
            if self.begun:
                self.finish(said["result"])
            else:
                found["cases"][-1]["afterwards"] = said["result"]
        if "profile" in said:
            found["cases"][-1].setdefault("profile", {}).update(said["profile"])
        self.check.save()

    def finish(self, result: dict) -> None:
        self.begun = False
        cases = self.check.found["cases"]
        case = self.planned[len(cases)]
        cases.append(
            {
                "kernel": case.kernel.split(".")[1],
                "shape": case.shape,
                "dtype": case.dtype,
                "result": result,
            }
        )
        self.check.say(f"{len(cases)}/{len(self.planned)} {case.name}: {report.line(result)}")
        self.check.save()


def driver_version() -> str:
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
        return asked.stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one or two cases of each kernel")
    parser.add_argument("--dry-run", action="store_true", help="on the emulator, nothing is timed")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu-check-report"))
    parser.add_argument("--folder", type=pathlib.Path, default=HERE, help="of the programs")
    parser.add_argument("--only", default="", help="regular expression of the kernels' cases")
    parser.add_argument("--minutes", type=float, help="limit of everything")
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"unknown section: {', '.join(sorted(unknown))}")
    if arguments.dry_run and set(arguments.sections) - {"kernels"}:
        parser.error("a dry run has the section kernels only: script/test runs the tests")
    set_environment(arguments.folder)
    mode = "dry-run" if arguments.dry_run else "quick" if arguments.quick else "full"
    limits = dict(LIMITS[mode])
    if arguments.minutes:
        limits["all"] = arguments.minutes * 60
    arguments.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    check = Check(
        mode=mode,
        folder=arguments.folder,
        out=arguments.out,
        end=began + limits["all"],
        limits=limits,
        only=arguments.only,
        found={
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "began": began,
            "mode": mode,
            "host": platform.platform(),
            "processors": os.cpu_count(),
            "driver": "none" if arguments.dry_run else driver_version(),
            "cases": [],
            "problems": [],
        },
    )
    build = check.folder / "build.json"
    if build.exists():
        check.found["build"] = json.loads(build.read_text(encoding="utf-8"))
    sections = ["kernels"] if arguments.dry_run else arguments.sections or SECTIONS
    for section in sections:
        try:
            {"tests": run_tests, "kernels": run_kernels, "sanitizer": run_sanitizer}[section](check)
        except Exception as problem:
            check.found["problems"].append(f"{section}: {type(problem).__name__}: {problem}")
            check.say(check.found["problems"][-1])
        check.save()
    check.found["seconds"] = round(time.monotonic() - began, 1)
    check.save()
    wrong = report.what_is_wrong(check.found)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    check.say(f"report: {check.out / 'report.md'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""The budgets of kernels, on a recorded report of ptxas (ptxas_report.cu)."""

import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = HERE.parents[4] / "kernels/cuda/nvcc"
KEEP_REPORT = TOOLS / "keep_report.sh"
sys.path.insert(0, str(TOOLS))

from check_budgets import check, main, name_kernels, parse_budgets, parse_report, table  # noqa: E402

REPORT = (HERE / "ptxas_report.txt").read_text(encoding="utf-8")
POOL_SUM = "PoolKernel<f16, 4, (Mode)0>"
POOL_MEAN = "PoolKernel<bf16, 4, (Mode)1>"
# As tight as the report allows.
FITTING = """
# kernel                  | architecture | registers | shared bytes
PoolKernel<bf16, *, *1>   | sm_80        | 9         | 0
PoolKernel<*>             | *            | 12        | 0
TileKernel                | *            | 10        | 1024  # A tile.
"""


def usages_of(*kernels):
    usages = parse_report(REPORT)
    name_kernels(usages)
    return [usage for usage in usages if usage.kernel.startswith(kernels)]


class ReportTest(unittest.TestCase):
    def test_tells_what_each_kernel_uses_on_each_architecture(self):
        found = {
            (usage.kernel, usage.arch): (usage.registers, usage.shared_bytes, usage.local_bytes)
            for usage in usages_of("")
        }
        expected = {
            (POOL_MEAN, "sm_80"): (9, 0, 0),
            (POOL_MEAN, "sm_90a"): (12, 0, 0),
            (POOL_SUM, "sm_80"): (11, 0, 0),
            (POOL_SUM, "sm_90a"): (12, 0, 0),
            ("TileKernel", "sm_80"): (10, 1024, 0),
            ("TileKernel", "sm_90a"): (10, 1024, 0),
            # Loaded more than stored.
            ("SpillKernel<40>", "sm_80"): (32, 0, 2596),
            ("SpillKernel<40>", "sm_90a"): (32, 0, 2608),
            # Nothing spilled, but an array on the stack; the function it calls has none.
            ("CallKernel", "sm_80"): (10, 0, 32),
            ("CallKernel", "sm_90a"): (10, 0, 32),
        }
        self.assertEqual(found, expected)

    def test_of_functions_alone_names_no_kernel(self):
        _, functions = REPORT.split("Compile time = 3.269 ms\n")
        self.assertEqual(parse_report(functions[: functions.index("Compiling")]), [])

    def test_without_registers_is_not_understood(self):
        with self.assertRaisesRegex(ValueError, "how many registers .*TileKernel"):
            parse_report(REPORT.replace("Used 10 registers, used 1 barriers", "Used 10 of them"))


class BudgetsTest(unittest.TestCase):
    def test_are_kept_by_kernels_that_use_just_that_much(self):
        self.assertEqual(check(usages_of("Pool", "Tile"), parse_budgets(FITTING)), [])

    def test_find_a_register_too_many(self):
        budgets = parse_budgets(FITTING.replace("| 12 ", "| 11 "))
        self.assertEqual(
            check(usages_of("Pool", "Tile"), budgets),
            [
                f"{POOL_MEAN} on sm_90a: 12 registers, the budget is 11",
                f"{POOL_SUM} on sm_90a: 12 registers, the budget is 11",
            ],
        )

    def test_find_a_byte_of_shared_memory_too_many(self):
        wrong = check(usages_of("Pool", "Tile"), parse_budgets(FITTING.replace("1024", "1023")))
        self.assertEqual(len(wrong), 2)
        self.assertIn("TileKernel on sm_80: 1024 bytes of shared memory", wrong[0])

    def test_find_local_memory_whatever_the_budget(self):
        budgets = parse_budgets(FITTING + "SpillKernel<*> | * | 255 | 0\nCallKernel | * | 255 | 0")
        wrong = check(usages_of(""), budgets)
        self.assertEqual(len(wrong), 4)
        self.assertIn("SpillKernel<40> on sm_80: 2596 bytes of local memory", wrong[0])
        self.assertIn("CallKernel on sm_80: 32 bytes of local memory", wrong[1])

    def test_find_a_kernel_that_no_line_covers(self):
        budgets = parse_budgets(
            FITTING.replace("TileKernel                | * ", "TileKernel|sm_80")
        )
        wrong = check(usages_of("Pool", "Tile"), budgets)
        self.assertEqual(len(wrong), 1)
        self.assertIn("TileKernel on sm_90a: no line of the budgets covers it", wrong[0])

    def test_find_a_line_that_covers_no_kernel(self):
        wrong = check(usages_of("Pool", "Tile"), parse_budgets(FITTING + "GoneKernel | * | 1 | 0"))
        self.assertEqual(wrong, ["line 6 of the budgets covers no kernel: GoneKernel"])

    def test_find_a_kernel_without_code_for_an_architecture(self):
        usages = usages_of("Pool", "Tile")
        usages.remove(next(usage for usage in usages if usage.kernel == "TileKernel"))
        self.assertEqual(
            check(usages, parse_budgets(FITTING)), ["TileKernel was not compiled for sm_80"]
        )

    def test_find_a_build_without_reports(self):
        self.assertIn("the reports name no kernel", check([], [])[0])

    def test_say_which_line_is_malformed(self):
        for line in ("Kernel | * | 12", "Kernel | * | many | 0", "| * | 1 | 0"):
            with self.assertRaisesRegex(ValueError, "line 2 of the budgets"):
                parse_budgets("# Comment\n" + line)


class TableTest(unittest.TestCase):
    def test_shows_use_and_budget_of_each_architecture(self):
        lines = table(usages_of("Pool", "Tile"), parse_budgets(FITTING))
        self.assertEqual(lines[0].split(), ["registers,", "shared", "bytes", "sm_80", "sm_90a"])
        self.assertEqual(lines[1].removeprefix(POOL_MEAN).split(), ["9/9", "0/0", "12/12", "0/0"])
        self.assertEqual(len(lines), 4)


class KeepReportTest(unittest.TestCase):
    """keep_report.sh, with a shell as the compiler."""

    REPORT = "ptxas info    : Used 9 registers\n    0 bytes stack frame, 0 bytes spill stores\n"

    def compile(self, says, result):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "kernel.o")
            compiler = ["sh", "-c", 'printf %s "$0" >&2; exit "$1"', says, str(result)]
            run = subprocess.run(
                [KEEP_REPORT, *compiler, "-c", "kernel.cu", "-o", path, "-MF", "kernel.d"],
                capture_output=True,
                text=True,
            )
            report = pathlib.Path(folder, "kernel.o.ptxas").read_text(encoding="utf-8")
            return run.returncode, run.stderr, report

    def test_keeps_the_report_and_prints_warnings(self):
        says = self.REPORT + "kernel.cu(1): warning\n"
        self.assertEqual(self.compile(says, 0), (0, "kernel.cu(1): warning\n", says))

    def test_prints_everything_of_a_failed_compilation(self):
        self.assertEqual(self.compile(self.REPORT, 3), (3, self.REPORT, self.REPORT))


class ProgramTest(unittest.TestCase):
    def run_on(self, report):
        with tempfile.TemporaryDirectory() as folder:
            budgets = pathlib.Path(folder, "budgets.txt")
            budgets.write_text(FITTING, encoding="utf-8")
            pathlib.Path(folder, "kernels.o.ptxas").write_text(report, encoding="utf-8")
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()) as errors,
            ):
                return main(
                    [str(budgets), str(pathlib.Path(folder, "kernels.o"))]
                ), errors.getvalue()

    def test_fails_beyond_the_budgets_only(self):
        without = [
            f"ptxas info    : Compiling entry function{part}"
            for part in REPORT.split("ptxas info    : Compiling entry function")[1:]
            if "SpillKernel" not in part and "CallKernel" not in part
        ]
        self.assertEqual(self.run_on("".join(without)), (0, ""))
        result, errors = self.run_on(REPORT)
        self.assertEqual(result, 1)
        self.assertIn("error: SpillKernel<40> on sm_80: no line of the budgets covers it", errors)


if __name__ == "__main__":
    unittest.main()

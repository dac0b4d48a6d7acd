"""What bench/gpu does around the kernels: workers that crash or hang, judgement, the report."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import textwrap
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "bench/gpu"))

import gpu_check  # noqa: E402
import plan  # noqa: E402
import report  # noqa: E402
import supervise  # noqa: E402

CEILINGS = {
    "memory_gb_s": 1000.0,
    "bf16_tflop_s": 100.0,
    "fp16_tflop_s": 100.0,
    "smallest_kernel_us": 1.5,
}


def result(**changes):
    found = {
        "bytes": 2_000_000,
        "flop": 100_000_000,
        "error": 0.01,
        "allowed": 0.02,
        "agrees": True,
        "peer_errors": {"eager": 0.01},
        "peers_failed": {},
        "peers_differ": [],
        "times": {"ours": {"us": 4.0}, "ours cached": {"us": 3.0}, "eager": {"us": 10.0}},
    }
    return found | changes


def found_with(*results, **more):
    cases = [
        {"kernel": "layer_norm", "shape": "4 x 8", "dtype": "bf16", "result": each}
        for each in results
    ]
    basic = {"date": "today", "mode": "quick", "driver": "1", "host": "here", "problems": []}
    return basic | {"ceilings": CEILINGS, "cases": cases, "planned": len(cases)} | more


class EnvironmentTest(unittest.TestCase):
    def test_finds_the_cublaslt_of_an_installed_package(self):
        with tempfile.TemporaryDirectory() as name:
            library = pathlib.Path(name, "nvidia/cu13/lib/libcublasLt.so.13")
            library.parent.mkdir(parents=True)
            library.touch()
            pathlib.Path(name, "nvidia/nccl/lib").mkdir(parents=True)
            self.assertEqual(gpu_check.cuda_folders(["/none", name]), [str(library.parent)])


class ReportTest(unittest.TestCase):
    def test_floor_is_the_largest_of_memory_work_and_a_launch(self):
        self.assertAlmostEqual(report.floor_us(result(bytes=8), "bf16", CEILINGS), 1.5)
        self.assertAlmostEqual(report.floor_us(result(), "bf16", CEILINGS), 2.0)
        self.assertAlmostEqual(report.floor_us(result(flop=10**9), "bf16", CEILINGS), 10.0)

    def test_shows_ratios_to_floor_and_peers(self):
        text = "\n".join(report.markdown(found_with(result())))
        self.assertIn("| 4 x 8 | bf16 | 4 | 3 | 2 | 2.00 | 10 (2.50x) | yes |", text)
        self.assertIn("* nothing", text)

    def test_shows_how_many_inputs_a_second_a_model_takes(self):
        text = "\n".join(report.markdown(found_with(result(inputs=32))))
        self.assertIn("| 4 (8,000,000 inputs/s) |", text)

    def test_shows_where_the_time_of_a_model_goes(self):
        found = found_with(result())
        found["cases"][0]["profile"] = {
            "ours": [
                {"name": "void Gemm<int>(float*)", "launches": 2.0, "us": 30.0},
                {"name": "Norm|x", "launches": 1.0, "us": 10.0},
            ]
        }
        text = "\n".join(report.markdown(found))
        self.assertIn("ours: 40 us on the GPU", text)
        self.assertIn("| `Gemm<int>(float*)` | 2 | 30 | 75% |\n| `Norm/x` | 1 | 10 | 25% |", text)

    def test_a_difference_is_wrong(self):
        wrong = report.what_is_wrong(found_with(result(), result(agrees=False)))
        self.assertEqual(len(wrong), 1)
        self.assertIn("DIFFERS", wrong[0])

    def test_a_failed_case_is_wrong_and_keeps_its_row(self):
        found = found_with({"failed": "LaunchError: bad shape"})
        self.assertIn("FAILED: LaunchError", report.what_is_wrong(found)[0])
        self.assertIn("| 4 x 8 | bf16 | FAILED", "\n".join(report.markdown(found)))

    def test_cases_that_were_not_run_are_wrong(self):
        self.assertEqual(
            report.what_is_wrong(found_with(result(), planned=3)), ["2 cases were not run"]
        )

    def test_a_sanitizer_that_had_no_time_is_wrong_and_one_that_is_not_there_is_not(self):
        late = {"memcheck": {"ended": "not run: no time left"}}
        self.assertEqual(
            report.what_is_wrong(found_with(sanitizer=late)), ["memcheck: not run: no time left"]
        )
        absent = {"memcheck": {"ended": report.NOT_THERE + "compute-sanitizer"}}
        self.assertEqual(report.what_is_wrong(found_with(sanitizer=absent)), [])

    def test_failed_tests_are_wrong(self):
        found = found_with(tests={"ended": "failed (1)", "failed": ["LayerNorm.Rows"]})
        self.assertIn("LayerNorm.Rows", report.what_is_wrong(found)[0])


class PlanTest(unittest.TestCase):
    def test_names_are_unique_and_quick_is_part_of_full(self):
        names = [case.name for case in plan.full()]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({case.name for case in plan.quick()}, set(names))

    def test_cases_are_chosen_by_their_names(self):
        names = [case.name for case in plan.chosen("full", "^attention .*fp16")]
        self.assertEqual(len(names), 2)
        self.assertTrue(all(name.startswith("attention ") for name in names))

    def test_the_dry_run_has_every_kernel(self):
        self.assertEqual(
            {case.kernel for case in plan.tiny()}, {case.kernel for case in plan.full()}
        )


class SuperviseTest(unittest.TestCase):
    def test_run_keeps_what_was_printed_before_the_limit(self):
        program = "print('so far', flush=True); import time; time.sleep(60)"
        ended = supervise.run([sys.executable, "-c", program], 5)
        self.assertTrue(ended.timed_out)
        self.assertEqual(ended.output, "so far\n")


class WorkerTest(unittest.TestCase):
    """A worker that does at some cases what the test says."""

    def run_with(self, what, case_seconds=60):
        worker = """
            import json, os, sys, time
            sys.path.insert(0, {bench!r})
            import plan
            skip = int([word for word in sys.argv if word.startswith("--skip=")][0][7:])
            print(json.dumps({{"versions": {{}}}}), flush=True)
            for number, case in enumerate(plan.tiny()[skip:], skip):
                print(json.dumps({{"begin": case.name}}), flush=True)
                if number == 2:
                    {what}
                print(json.dumps({{"result": {result!r}}}), flush=True)
        """
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            text = worker.format(bench=str(ROOT / "bench/gpu"), what=what, result=result())
            (folder / "worker.py").write_text(textwrap.dedent(text), encoding="utf-8")
            limits = gpu_check.LIMITS["dry-run"] | {"case": case_seconds}
            began = time.monotonic()
            found = found_with(began=began)
            check = gpu_check.Check("dry-run", folder, folder, began + 60, found, limits)
            with contextlib.redirect_stdout(io.StringIO()):
                gpu_check.run_kernels(check, folder / "worker.py")
            written = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            self.assertEqual(written["cases"], found["cases"])
            return found

    def check_only_the_third_failed(self, found, why):
        failed = [
            number for number, case in enumerate(found["cases"]) if "failed" in case["result"]
        ]
        self.assertEqual(failed, [2])
        self.assertEqual(len(found["cases"]), len(plan.tiny()))
        self.assertIn(why, found["cases"][2]["result"]["failed"])

    def test_goes_on_after_a_crash(self):
        self.check_only_the_third_failed(self.run_with("os._exit(3)"), "ended (3)")

    def test_goes_on_after_a_case_that_hangs(self):
        self.check_only_the_third_failed(self.run_with("time.sleep(600)", 1), "took too long")

    def test_gives_up_where_no_worker_starts(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            began = time.monotonic()
            found = found_with(began=began)
            limits = gpu_check.LIMITS["dry-run"]
            check = gpu_check.Check("dry-run", folder, folder, began + 60, found, limits)
            with contextlib.redirect_stdout(io.StringIO()):
                gpu_check.run_kernels(check, folder / "missing.py")
        self.assertIn("ended before its first case", found["problems"][0])


if __name__ == "__main__":
    unittest.main()

"""The layering check catches what it is there for: each forbidden include, seeded alone."""

import pathlib
import tempfile
import unittest

from check_includes import check

FORBIDDEN = [
    ("kernels/include/kernels/gelu.h", '"engine/base/dtype.h"'),
    ("kernels/cpu/gelu.cc", '"engine/device/device.h"'),
    ("kernels/cpu/gelu.cc", "<ATen/ATen.h>"),
    ("engine/base/clock.h", '"engine/batching/batcher.h"'),
    ("engine/base/stats.cc", '"kernels/gelu.h"'),
    ("engine/preprocess/wordpiece.cc", '"engine/model/model.h"'),
    ("engine/preprocess/image_processor.cc", "<opencv2/core.hpp>"),
    ("engine/preprocess/image_decoder.h", "<opencv2/core.hpp>"),
    ("engine/batching/batcher.cc", '"engine/model/model.h"'),
    ("engine/batching/batcher.h", '"engine/device/device.h"'),
    ("engine/device/device.cc", '"engine/model/model.h"'),
    ("engine/device/tensor_view.cc", "<ATen/ATen.h>"),
    ("engine/device/cpu_device.h", "<ATen/ATen.h>"),
    ("engine/device/cpu_device.cc", "<cuda_runtime.h>"),
    ("engine/model/bert.cc", "<torch/torch.h>"),
    ("engine/model/checkpoint.cc", "<ATen/ATen.h>"),
    ("engine/model/bert.cc", '"kernels/gelu.h"'),
    ("engine/model/model.h", '"engine/execution/executor.h"'),
    ("engine/execution/executor.cc", '"engine/preprocess/tokenizer.h"'),
    ("engine/execution/executor.cc", '"server/rpc/status.h"'),
    ("engine/engine.h", '"engine/model/model.h"'),
    ("engine/engine.cc", '"contextpool/v1/types.pb.h"'),
    ("engine/engine.cc", "<grpcpp/grpcpp.h>"),
    ("server/rpc/embed.cc", '"engine/preprocess/tokenizer.h"'),
    ("server/rpc/embed.cc", "<ATen/ATen.h>"),
    ("server/admission/limit.cc", '"contextpool/v1/types.pb.h"'),
    ("server/admission/limit.cc", '"server/rpc/embed.h"'),
    ("server/config/options.cc", '"server/rpc/embed.h"'),
    ("server/observe/metrics.cc", '"server/rpc/embed.h"'),
    ("server/main.cc", '"contextpool/v1/types.pb.h"'),
    ("clients/cli/main.cc", '"engine/base/request.h"'),
    ("clients/cli/main.cc", '"server/config/options.h"'),
    ("engine/surprise/file.cc", '"engine/base/clock.h"'),
    ("server/rpc/embed.cc", '"sibling.h"'),
]

ALLOWED = [
    ("kernels/cpu/gelu.cc", '"kernels/gelu.h"'),
    ("engine/base/dtype.h", '"kernels/dtype.h"'),
    ("engine/batching/batcher.cc", '"engine/base/clock.h"'),
    ("engine/device/cpu_device.cc", "<ATen/ATen.h>"),
    ("engine/model/bert.cc", '"engine/device/device.h"'),
    ("engine/preprocess/image_decoder.cc", "<opencv2/core.hpp>"),
    ("engine/engine.cc", '"engine/execution/executor.h"'),
    ("server/rpc/embed.cc", '"contextpool/v1/types.pb.h"'),
    ("server/rpc/embed.cc", '"engine/engine.h"'),
    ("server/main.cc", '"server/rpc/embed.h"'),
    ("clients/cli/main.cc", "<grpcpp/grpcpp.h>"),
    ("engine/base/clock.h", "<chrono>"),
]


class CheckIncludesTest(unittest.TestCase):
    def check_one(self, file, include):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / file).parent.mkdir(parents=True)
            (root / file).write_text(f"#include <vector>\n#include {include}\n")
            (root / "server/rpc").mkdir(parents=True, exist_ok=True)
            (root / "server/rpc/sibling.h").write_text("")
            return check(root)[0]

    def test_forbidden_includes_are_reported_with_file_and_line(self):
        for file, include in FORBIDDEN:
            with self.subTest(file=file, include=include):
                violations = self.check_one(file, include)
                self.assertEqual(len(violations), 1)
                self.assertTrue(violations[0].startswith(f"{file}:2: "), violations[0])

    def test_allowed_includes_pass(self):
        for file, include in ALLOWED:
            with self.subTest(file=file, include=include):
                self.assertEqual(self.check_one(file, include), [])


if __name__ == "__main__":
    unittest.main()

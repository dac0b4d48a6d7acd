"""Runs cases one after the other and prints a line of JSON for each; gpu_check.py watches it.

usage: worker.py --plan NAME --library FILE --device DEVICE [--only CASES] [--skip NUMBER]
                 [--ceilings]

A process of its own, since an error of a kernel may end everything that uses the GPU, and a kernel
that hangs can only be killed.
"""

import argparse
import importlib
import json
import os
import sys
import traceback
from typing import Any

import torch

import plan
import timing
from case import Case, Context, InputSet
from library import Library

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Of results, relative to the largest: one in a 16-bit type, a few dozen in float32, whose sums and
# exponentials are nobody's exactly.
ROUNDING = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 1e-5}
# Contenders of whole models.
PROFILED = ("ours", "compile")
# Above this no error counts as agreement, whatever PyTorch's own is.
LARGEST_RELATIVE_ERROR = 0.05


def emit(**values: Any) -> None:
    print(json.dumps(values), file=PROTOCOL, flush=True)


def largest_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """NaN where there is one."""
    return (out.float() - reference).abs().max().item()


def compare(inputs: InputSet) -> dict[str, Any]:
    """Errors against the formula in float32. Ours may be twice PyTorch's in the same type."""
    inputs.ours()
    if inputs.out.is_cuda:
        torch.cuda.synchronize()
    reference = inputs.reference()
    shape = reference.shape
    scale = reference.abs().max().item()
    rounding = scale * ROUNDING[inputs.out.dtype]
    error = largest_error(inputs.out.view(shape), reference)
    errors, failed = {}, {}
    for name, peer in list(inputs.peers.items()):
        try:
            errors[name] = largest_error(peer().view(shape), reference)
        except Exception as problem:
            failed[name] = f"{type(problem).__name__}: {problem}"[:300]
            del inputs.peers[name]
    allowed = min(2 * errors["eager"] + rounding, LARGEST_RELATIVE_ERROR * scale)
    return {
        "scale": scale,
        "error": error,
        "allowed": allowed,
        "agrees": error <= allowed,
        "peer_errors": errors,
        "peers_failed": failed,
        "peers_differ": [name for name, value in errors.items() if not value <= 2 * allowed],
    }


def run(planned: plan.Planned, library: Library, device: torch.device, seconds: float) -> None:
    """Says the result, and for whole models then where their time goes."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    context = Context(library, device, DTYPES[planned.dtype], planned.compiles)
    module, function = planned.kernel.split(".")
    make = getattr(importlib.import_module(module), function)
    case: Case = make(context, **planned.arguments)
    count = 1 if case.end_to_end else timing.input_sets(case.bytes, device)
    sets = [case.make() for _ in range(count)]
    found = {"bytes": case.bytes, "flop": case.flop, "sets": count, "inputs": case.inputs}
    found |= compare(sets[0])
    found |= sets[0].notes()
    if device.type != "cuda":
        emit(result=found)
        return
    contenders = {"ours": lambda i: sets[i].ours()}
    for name in sets[0].peers:
        contenders[name] = lambda i, name=name: sets[i].peers[name]()
    if not case.end_to_end:
        # As behind another kernel that wrote its input, where that fits the second-level cache.
        contenders["ours cached"] = lambda _: sets[0].ours()
        emit(result=found | {"times": timing.measure(contenders, count, seconds)})
        return
    emit(result=found | {"times": timing.measure_calls(contenders, seconds)})
    for name in filter(contenders.__contains__, PROFILED):
        emit(profile={name: timing.profile(lambda name=name: contenders[name](0))})


def is_lost(device: torch.device) -> bool:
    """Whether the GPU answers no more in this process."""
    try:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return False
    except Exception:
        return True


def versions(device: torch.device) -> dict[str, str]:
    found = {"torch": torch.__version__, "python": sys.version.split()[0]}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": str(properties.multi_processor_count),
            "l2_mib": str(properties.L2_cache_size >> 20),
            "cuda_of_torch": str(torch.version.cuda),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", choices=plan.PLANS, required=True)
    parser.add_argument("--library", dest="path", required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--only", default="", help="regular expression of cases' names")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--ceilings", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.3, help="of timing a case")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    # Compilation of one case must not be refused because of those before it.
    torch._dynamo.config.recompile_limit = 1000
    torch._dynamo.config.accumulated_recompile_limit = 100000
    emit(versions=versions(device))
    library = Library(arguments.path)
    if arguments.ceilings and device.type == "cuda":
        emit(ceilings=timing.ceilings(device))
    for planned in plan.chosen(arguments.plan, arguments.only)[arguments.skip :]:
        emit(begin=planned.name)
        try:
            run(planned, library, device, arguments.seconds)
        except Exception as problem:
            traceback.print_exc()
            emit(result={"failed": f"{type(problem).__name__}: {problem}"[:500]})
            if is_lost(device):
                sys.exit("the GPU answers no more in this process")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    emit(end=True)


if __name__ == "__main__":
    # Lines of JSON only; what libraries print goes to the standard error.
    PROTOCOL = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main()

"""Whole models, from inputs on the host to embeddings on the host."""

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable

import torch

import checkpoint
from case import Case, Context, InputSet, starts_of
from checkpoint import Architecture
from encoder import Encoder, Sequences, dense_attention, distances_of, packed_attention
from library import Library, Model

Run = Callable[..., torch.Tensor]
Peers = dict[str, Callable[[], torch.Tensor]]


@dataclasses.dataclass
class Ready:
    """A model in all its forms."""

    device: torch.device
    model: Model
    exact: Encoder  # in float32
    eager: Encoder
    compiled: Encoder | None


# Kept for the next case with the same model.
@functools.lru_cache(maxsize=1)
def ready(
    library: Library, of: Architecture, dtype: torch.dtype, device: torch.device, compiles: bool
) -> Ready:
    weights = checkpoint.random_weights(of, dtype, device)
    with tempfile.TemporaryDirectory() as name:
        checkpoint.write(pathlib.Path(name), of, weights)
        model = library.load(name, dtype)
    exact = {name: tensor.float() for name, tensor in weights.items()}
    return Ready(
        device,
        model,
        Encoder(of, exact, compiles=False),
        Encoder(of, weights, compiles=False),
        Encoder(of, weights, compiles=True) if compiles else None,
    )


def graphed(run: Run, *examples: torch.Tensor) -> Run:
    """The same as a CUDA graph, which takes tensors on the host and gives one."""
    inputs = [example.clone() for example in examples]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run(*inputs)

    def replay(*values: torch.Tensor) -> torch.Tensor:
        for there, value in zip(inputs, values, strict=True):
            there.copy_(value, non_blocking=True)
        graph.replay()
        return out.cpu()

    return replay


def peers_of(found: Ready, way: Callable[[Encoder], Run], host: torch.Tensor) -> Peers:
    """An encoder as it is, and compiled in a CUDA graph: from inputs on the host to embeddings."""
    device = found.device
    eager = way(found.eager)
    peers: Peers = {"eager": lambda: eager(host.to(device, non_blocking=True)).cpu()}
    if found.compiled is not None:
        compiled = way(found.compiled)
        # Made when first called, so that what fails there is this peer's alone.
        made = functools.cache(lambda: graphed(compiled, host.to(device)))
        peers["compile"] = lambda: made()(host)
    return peers


def padded_texts(of: Architecture, lengths: list[int], device: torch.device) -> Callable:
    """From an encoder to a function of ids [texts, longest]; no mask where lengths are equal."""
    longest = max(lengths)
    length_of = torch.tensor(lengths, device=device)
    mask = torch.arange(longest, device=device)[None] < length_of[:, None]
    mask_or_none = None if len(set(lengths)) == 1 else mask
    places = torch.arange(longest, device=device)[None].expand_as(mask)
    sequences = Sequences(
        attend=dense_attention(mask_or_none),
        mask=mask_or_none,
        distances=distances_of(of, longest, device),
        n=(length_of - 1)[:, None],
    )

    def way(encoder: Encoder) -> Run:
        def run(ids: torch.Tensor) -> torch.Tensor:
            hidden = encoder.texts(ids, places, sequences).float()
            return (hidden * mask[:, :, None]).sum(dim=1) / length_of[:, None]

        return run

    return way


def packed_texts(lengths: list[int], device: torch.device) -> Callable:
    """The same of ids [1, tokens] without padding."""
    cu_lengths = torch.tensor(starts_of(lengths), dtype=torch.int32, device=device)
    places = torch.cat([torch.arange(length, device=device) for length in lengths])[None]
    owner = torch.repeat_interleave(
        torch.arange(len(lengths), device=device), torch.tensor(lengths, device=device)
    )
    counts = torch.tensor(lengths, device=device)[:, None]
    sequences = Sequences(packed_attention(cu_lengths, max(lengths)), None, None, 0)

    def way(encoder: Encoder) -> Run:
        def run(ids: torch.Tensor) -> torch.Tensor:
            hidden = encoder.texts(ids, places, sequences)[0].float()
            sums = torch.zeros(len(lengths), hidden.shape[1], device=hidden.device)
            return sums.index_add(0, owner, hidden) / counts

        return run

    return way


def whole_images(of: Architecture, device: torch.device) -> Callable:
    distances = distances_of(of, of.grid**2 + 1, device)
    sequences = Sequences(dense_attention(None), None, distances, of.grid)
    return lambda encoder: lambda pixels: encoder.images(pixels, sequences)


def bert(context: Context, architecture: dict, lengths: list[int]) -> Case:
    of, device = Architecture(**architecture), context.device
    found = ready(context.ours, of, context.dtype, device, context.compiles)
    longest, count = max(lengths), len(lengths)
    way = padded_texts(of, lengths, device)

    def make() -> InputSet:
        ids = torch.randint(0, of.vocabulary, (sum(lengths),), generator=context.host_generator())
        mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
        padded = torch.zeros(count, longest, dtype=torch.int64).masked_scatter(mask, ids)
        host = pinned(padded, device)
        peers = peers_of(found, way, host)
        if device.type == "cuda" and len(set(lengths)) > 1 and not of.context_pool:
            more = peers_of(found, packed_texts(lengths, device), pinned(ids[None], device))
            peers |= {f"varlen {name}": peer for name, peer in more.items()}
        out = torch.full((count, of.hidden), float("nan"))
        return InputSet(
            ours=found.model.prepare(out, starts_of(lengths), ids=ids.int()),
            out=out,
            peers=peers,
            reference=lambda: way(found.exact)(padded.to(device)).cpu(),
        )

    return model_case(of, lengths, make)


def vit(context: Context, architecture: dict, images: int) -> Case:
    of, device = Architecture(**architecture), context.device
    found = ready(context.ours, of, context.dtype, device, context.compiles)
    lengths = [of.grid**2 + 1] * images
    way = whole_images(of, device)

    def make() -> InputSet:
        shape = (images, of.image, of.image, 3)
        pixels = torch.randint(0, 256, shape, generator=context.host_generator()).byte()
        host = pinned(pixels, device)
        out = torch.full((images, of.hidden), float("nan"))
        return InputSet(
            ours=found.model.prepare(out, starts_of(lengths), pixels=pixels),
            out=out,
            peers=peers_of(found, way, host),
            reference=lambda: way(found.exact)(pixels.to(device)).cpu(),
        )

    return model_case(of, lengths, make)


def model_case(of: Architecture, lengths: list[int], make: Callable[[], InputSet]) -> Case:
    """Work and weights of the layers, without ContextPool, which is at most a few percent."""
    per_token = 8 * of.hidden**2 + 4 * of.hidden * of.intermediate
    flop = of.layers * sum(n * (per_token + 4 * n * of.hidden) for n in lengths)
    return Case(2 * of.parameters, flop, make, end_to_end=True, inputs=len(lengths))


def pinned(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    return host.pin_memory() if device.type == "cuda" else host

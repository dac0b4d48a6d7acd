"""The sentiment experiment: does ContextPool help a small text classifier?

Each arm is the same transformer from the same first weights: plain, with a fixed Gaussian blur in
ContextPool's place, or with ContextPool. Every finished run leaves a folder with result.json and
its weights, and is not trained again while the settings, the data, the tokeniser and the versions
of the libraries stay the same.
"""

import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tqdm import tqdm

from contextpool_training import corpora
from contextpool_training.bert import BertForSequenceClassification
from contextpool_training.classifier import (
    ModelOptions,
    TextTrainingOptions,
    build,
    round_to_stored,
)
from contextpool_training.corpora import LABELS, SPLITS, Sentence
from contextpool_training.options import ContextPoolOptions, Fixed
from contextpool_training.scores import accuracy, macro_f1, predictions_of
from contextpool_training.settings import versions_of
from contextpool_training.texts import (
    EncodedTexts,
    Example,
    TokenizerKind,
    prefix_tokens_in,
    train_tokenizer,
)
from contextpool_training.trainer import set_deterministic, train

ARMS = ("plain", "blur", "contextpool")
SEEDS = (1, 2, 3)
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
# The support size of the blur: where ContextPool starts.
BLUR_SIGMA = 1.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that is alike in the arms of one tokeniser."""

    tokenizer: TokenizerKind
    vocabulary: int
    model: ModelOptions
    training: TextTrainingOptions


RECIPES: dict[str, Recipe] = {
    "wordpiece": Recipe(
        "wordpiece",
        6000,
        ModelOptions(width=96, heads=3, feed_forward=384, max_tokens=128),
        TextTrainingOptions(epochs=3, learning_rate=1e-3),
    ),
    "bytes": Recipe(
        "bytes",
        257,
        ModelOptions(
            width=64,
            layers=1,
            heads=4,
            feed_forward=256,
            max_tokens=128,
            dropout=0.0,
            classifier_dropout=0.1,
            first_weights=0.125,
            first_embeddings=0.5,
            first_positions="sinusoid",
        ),
        TextTrainingOptions(
            epochs=5, batch_size=32, learning_rate=3e-3, label_smoothing=0.0, token_dropout=0.0
        ),
    ),
}


@dataclasses.dataclass(frozen=True)
class Run:
    tokenizer: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.tokenizer}-{self.arm}-{self.seed}"


@dataclasses.dataclass
class Data:
    """The three splits, as sentences and as the tokeniser sees them."""

    sentences: dict[str, list[Sentence]]
    tokenizer: Tokenizer
    encoded: dict[str, EncodedTexts]

    @property
    def digest(self) -> str:
        """Of the texts, labels and corpora of each split, in order, and of the tokeniser."""
        splits = {
            name: [[s.corpus, s.text, s.label] for s in split]
            for name, split in self.sentences.items()
        }
        text = json.dumps([splits, self.tokenizer.to_str()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of the libraries that decide what a run gives."""
    return versions_of(_LIBRARIES)


def load_data(recipe: Recipe, cache: pathlib.Path, limit: int | None = None) -> Data:
    """`limit`: only so many sentences of each split, to try things out."""
    sentences = corpora.split_sentences(corpora.read_sentences(corpora.package(cache)))
    if limit is not None:
        sentences = {name: _thinned(split, limit) for name, split in sentences.items()}
    tokenizer = _tokenizer(recipe, [sentence.text for sentence in sentences["train"]], cache)
    encoded = {
        name: EncodedTexts(
            tokenizer,
            [Example(s.text, s.label) for s in sentences[name]],
            recipe.model.max_tokens,
            recipe.training.token_dropout,
        )
        for name in SPLITS
    }
    return Data(sentences, tokenizer, encoded)


def _tokenizer(recipe: Recipe, texts: list[str], cache: pathlib.Path) -> Tokenizer:
    """Trained once, then kept."""
    key = _hash({"texts": texts, "vocabulary": recipe.vocabulary, "kind": recipe.tokenizer})
    path = cache / "sentiment" / f"tokenizer-{key}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_suffix(f".{os.getpid()}")
        train_tokenizer(recipe.tokenizer, texts, recipe.vocabulary).save(str(partial_file))
        partial_file.replace(path)
    return Tokenizer.from_file(str(path))


def _thinned(sentences: list[Sentence], count: int) -> list[Sentence]:
    return sentences[:: max(1, len(sentences) // count)][:count]


def context_pool_of(arm: str, prefix: int) -> ContextPoolOptions | None:
    if arm == "plain":
        return None
    options = ContextPoolOptions(num_prefix_tokens=prefix)
    if arm == "blur":
        sigma = Fixed(BLUR_SIGMA)
        return dataclasses.replace(options, weight_activation="one", size_activation=sigma)
    return options


def build_model(run: Run, data: Data) -> BertForSequenceClassification:
    prefix = prefix_tokens_in(data.tokenizer)
    return build(
        RECIPES[run.tokenizer].model,
        list(LABELS),
        data.tokenizer.get_vocab_size(),
        context_pool_of(run.arm, prefix),
        run.seed,
        data.encoded["train"].mean_length - prefix,
    )


def run_all(
    runs: Sequence[Run],
    cache: pathlib.Path,
    epochs: int | None = None,
    limit: int | None = None,
    jobs: int = 1,
) -> list[dict[str, Any]]:
    """Trains what has not been trained yet, `jobs` runs at a time on one thread each, and returns
    every run's result in the order asked for."""
    corpora.package(cache)
    context = multiprocessing.get_context("spawn")
    lock = context.RLock()
    tqdm.set_lock(lock)
    lines: Any = context.Queue()
    for line in range(jobs):
        lines.put(line)
    work = partial(_run_one, cache=cache, epochs=epochs, limit=limit)
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(lock, lines)
    ) as pool:
        try:
            return list(pool.map(work, runs))
        except BrokenProcessPool as error:
            raise OSError(
                "a training process was killed, perhaps for want of memory: fewer --jobs need "
                "less; the same command goes on from the last checkpoint"
            ) from error


_line = 0


def _start_worker(lock: Any, lines: Any) -> None:
    """Gives this process a line of the terminal for its progress bar."""
    global _line
    tqdm.set_lock(lock)
    _line = lines.get()
    set_deterministic(threads=1)


def _run_one(
    run: Run, cache: pathlib.Path, epochs: int | None, limit: int | None
) -> dict[str, Any]:
    recipe = RECIPES[run.tokenizer]
    options = dataclasses.replace(recipe.training, seed=run.seed)
    if epochs is not None:
        options = dataclasses.replace(options, epochs=epochs)
    settings: dict[str, Any] = {
        "run": dataclasses.asdict(run),
        "recipe": dataclasses.asdict(recipe),
    }
    settings |= {"training": dataclasses.asdict(options), "limit": limit}
    settings["context_pool"] = _plain(context_pool_of(run.arm, 0))
    data = _loaded(recipe, cache, limit)
    settings["data"] = data.digest
    folder = cache / "sentiment" / f"{run.name}-{_hash(settings)}"
    finished = folder / "result.json"
    if finished.exists():
        tqdm.write(f"{run.name}: already trained ({folder})")
        return _read_result(finished)

    model = build_model(run, data)
    checkpoint = folder / "checkpoint.pt"
    bar = partial(tqdm, desc=run.name, position=_line, leave=False)
    outcome = train(
        model, data.encoded["train"], data.encoded["validation"], options, checkpoint, bar
    )
    round_to_stored(model)  # what is stored is what is measured
    result = {
        **dataclasses.asdict(run),
        "folder": str(folder),
        "versions": versions(),
        "data": data.digest,
        "seconds": round(outcome.seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "best_epoch": outcome.best_epoch,
        "epochs": [dataclasses.asdict(epoch) for epoch in outcome.epochs],
        "validation_accuracy": outcome.validation_accuracy,
        **scores_on_test(data, predictions_of(model, data.encoded["test"])),
    }
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    partial_file = finished.with_suffix(".partial")
    partial_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial_file.replace(finished)
    checkpoint.unlink(missing_ok=True)
    tqdm.write(
        f"{run.name}: test accuracy {result['test_accuracy']:.4f}, "
        f"macro-F1 {result['test_macro_f1']:.4f} ({result['seconds']:.0f} s)"
    )
    return result


# Of the recipe that this process worked on last.
_loaded = functools.lru_cache(maxsize=1)(load_data)


def _read_result(path: pathlib.Path) -> dict[str, Any]:
    """`folder` is where it lies now, wherever it was written."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {**values, "folder": str(path.parent)}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete its folder, and the run is repeated"
        ) from error


def trained_model(result: dict[str, Any], data: Data) -> BertForSequenceClassification:
    """The model of a finished run."""
    run = Run(result["tokenizer"], result["arm"], result["seed"])
    model = build_model(run, data)
    path = pathlib.Path(result["folder"]) / "weights.safetensors"
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete its folder, and the run is repeated"
        ) from error
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model


def scores_on_test(data: Data, predictions: Any) -> dict[str, Any]:
    labels = np.array(data.encoded["test"].labels)
    names = np.array([sentence.corpus for sentence in data.sentences["test"]])
    return {
        "test_accuracy": accuracy(labels, predictions),
        "test_macro_f1": macro_f1(labels, predictions),
        "test_accuracy_by_corpus": {
            name: accuracy(labels[names == name], predictions[names == name])
            for name in corpora.CORPORA
            if (names == name).any()
        },
    }


def vader_result(data: Data, cache: pathlib.Path) -> dict[str, Any]:
    """The lexicon's scores on the test sentences; a compound score of 0 counts as positive."""
    texts = [sentence.text for sentence in data.sentences["test"]]
    compound = np.array(corpora.vader_scores(corpora.package(cache), texts))
    scores = scores_on_test(data, (compound >= 0).astype(np.int64))
    decided = compound != 0
    labels = np.array(data.encoded["test"].labels)
    return {
        **scores,
        "undecided": float(np.mean(~decided)),
        "accuracy_where_decided": accuracy(labels[decided], compound[decided] > 0),
    }


def _plain(options: ContextPoolOptions | None) -> dict[str, Any] | None:
    return None if options is None else options.to_dict()


def _hash(settings: dict[str, Any]) -> str:
    text = json.dumps([settings, versions(), corpora.PACKAGE], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

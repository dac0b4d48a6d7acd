"""Trains a classifier on your own texts and writes a directory that the server loads. DATA is .tsv
or .csv with a first line that names the columns, or .jsonl. Without --validation or --test, a tenth
of DATA each, chosen by a hash of the text, takes their place. After an interruption the same
command goes on from its last checkpoint (OUT.checkpoint). The same command, versions and thread
count give the same bytes."""

import argparse
import dataclasses
import pathlib
import sys

from tokenizers import Tokenizer

from contextpool_training.arguments import (
    add_fields,
    command_of,
    context_pool,
    fields_of,
    positive,
)
from contextpool_training.bert import BertForSequenceClassification
from contextpool_training.card import own_card
from contextpool_training.classifier import (
    ModelOptions,
    TextTrainingOptions,
    build,
    round_to_stored,
)
from contextpool_training.corpora import SPLITS
from contextpool_training.examples import (
    DataError,
    distinct,
    key_of,
    labels_of,
    read_rows,
    split_rows,
    to_examples,
)
from contextpool_training.export import export, spread
from contextpool_training.scores import accuracy, macro_f1, predictions_of
from contextpool_training.texts import (
    EncodedTexts,
    Example,
    prefix_tokens_in,
    train_tokenizer,
)
from contextpool_training.trainer import set_deterministic, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", type=pathlib.Path, help="labelled texts")
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="the model's directory")
    parser.add_argument("--validation", type=pathlib.Path, help="labelled texts like DATA")
    parser.add_argument("--test", type=pathlib.Path, help="labelled texts like DATA")
    parser.add_argument("--text-column", default="text", help="column or key of the text")
    parser.add_argument("--label-column", default="label", help="column or key of the label")
    parser.add_argument(
        "--tokenizer", choices=("wordpiece", "bytes"), default="wordpiece", help="trained on DATA"
    )
    parser.add_argument("--vocabulary", type=positive, default=8000, help="largest, of WordPiece")
    parser.add_argument(
        "--context-pool",
        type=context_pool,
        default="{}",
        metavar="JSON",
        help='the context_pool object of config.json, for example {"r": 0.2}; or off',
    )
    parser.add_argument("--threads", type=positive, default=1, help="of the processor")
    choices = {"pooling": ("cls", "mean"), "first_positions": ("random", "sinusoid")}
    add_fields(parser, "model", ModelOptions, choices)
    add_fields(parser, "training", TextTrainingOptions, {})


def run(args: argparse.Namespace) -> None:
    set_deterministic(args.threads)
    sizes, options = fields_of(args, ModelOptions), fields_of(args, TextTrainingOptions)
    splits, labels = read_splits(args)
    tokenizer = train_tokenizer(
        args.tokenizer, [example.text for example in splits["train"]], args.vocabulary
    )
    encoded = {
        name: EncodedTexts(tokenizer, split, sizes.max_tokens, options.token_dropout)
        for name, split in splits.items()
    }
    model = _fresh_model(args, sizes, labels, tokenizer, encoded["train"].mean_length)
    checkpoint = args.out.with_name(args.out.name + ".checkpoint")
    outcome = train(model, encoded["train"], encoded["validation"], options, checkpoint)

    round_to_stored(model)  # what is stored is what is measured
    truth, said = encoded["test"].labels, predictions_of(model, encoded["test"])
    scores = {"accuracy": accuracy(truth, said), "macro-F1": macro_f1(truth, said)}
    card = own_card(
        args.out.name,
        model.config,
        sum(parameter.numel() for parameter in model.parameters()),
        {name: len(split) for name, split in splits.items()},
        scores,
        outcome,
        command_of("train", args, separator=" \\\n    "),
    )
    texts = spread([example.text for example in splits["test"]])
    export(args.out, model, tokenizer, texts, card)
    checkpoint.unlink(missing_ok=True)
    print(f"wrote {args.out}: test " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))


def read_splits(args: argparse.Namespace) -> tuple[dict[str, list[Example]], list[str]]:
    """The examples of each split, and the labels' names."""
    given = read_rows(args.data, args.text_column, args.label_column)
    rows = split_rows(given)
    _report(args.data, len(given) - sum(map(len, rows.values())), "repeated")
    for name in ("validation", "test"):
        path = getattr(args, name)
        if path is not None:
            rows["train"] += rows[name]
            given = read_rows(path, args.text_column, args.label_column)
            rows[name] = distinct(given)
            _report(path, len(given) - len(rows[name]), "repeated")
    held_out: set[str] = set()
    for name in reversed(SPLITS):  # test keeps all, and training gives way to both
        kept = distinct(rows[name], held_out)
        where = f"held out for {'validation or test' if name == 'train' else 'test'}"
        _report(f"{name} texts", len(rows[name]) - len(kept), where)
        rows[name] = kept
        held_out |= {key_of(row.text) for row in kept}
    for name in SPLITS:
        if not rows[name]:
            raise DataError(
                f"{args.data}: too few texts, none is left for {name}; give more, or --{name}"
            )
    labels = labels_of(rows["train"], args.data)
    paths = {name: getattr(args, name, None) or args.data for name in SPLITS}
    return {name: to_examples(rows[name], labels, paths[name]) for name in SPLITS}, labels


def _report(what: object, dropped: int, why: str) -> None:
    if dropped:
        print(f"{what}: dropped {dropped:,}, {why}", file=sys.stderr)


def _fresh_model(
    args: argparse.Namespace,
    sizes: ModelOptions,
    labels: list[str],
    tokenizer: Tokenizer,
    mean_length: float,
) -> BertForSequenceClassification:
    prefix = prefix_tokens_in(tokenizer)
    pool = args.context_pool
    if pool is not None and pool.num_prefix_tokens is None:
        pool = dataclasses.replace(pool, num_prefix_tokens=prefix)
    vocabulary = tokenizer.get_vocab_size()
    return build(sizes, labels, vocabulary, pool, args.seed, mean_length - prefix)

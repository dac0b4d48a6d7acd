#!/usr/bin/env python3
"""Token ids of our tokeniser against Hugging Face `tokenizers`: they must be identical.

    tokenizer_parity.py TOKENIZE_LINES_BINARY MODEL_DIRECTORY

MODEL_DIRECTORY has the tokenizer.json of an uncased BERT; its variants are made here.
"""

import contextlib
import copy
import io
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from tokenizers import Tokenizer, __version__
from tokenizer_texts import SCALARS, megabytes, texts

NO_LIMIT = 2**31 - 1
# The generated tables describe this version.
PINNED = "0.23.3"


def added(content, token_id, **flags):
    base = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    return {"id": token_id, "content": content, **base, **flags}


def bert_variant(base, added_tokens=(), **normalizer):
    variant = copy.deepcopy(base)
    variant["normalizer"].update(normalizer)
    ids = dict(variant["model"]["vocab"])
    for content, flags in added_tokens:
        variant["added_tokens"].append(added(content, ids.setdefault(content, len(ids)), **flags))
    variant["truncation"] = variant["padding"] = None
    return variant


def byte_level(normalizer=None, add_prefix_space=False):
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    spelling = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    vocab = {"<s>": 0, "</s>": 1} | {spelling[b]: b + 2 for b in range(256)}
    return {
        "version": "1.0", "truncation": None, "padding": None, "decoder": None,
        "added_tokens": [added("<s>", 0, special=True), added("</s>", 1, special=True),
                         added("[MASK]", 258, lstrip=True, special=True)],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": add_prefix_space,
                          "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "BertProcessing", "cls": ["<s>", 0], "sep": ["</s>", 1]},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocab,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "merges": []},
    }


def sequence(*kinds):
    return {"type": "Sequence", "normalizers": [{"type": kind} for kind in kinds]}


ADDED = [
    ("<ent>", {}),
    ("café!", {"normalized": True}),
    ("<left>", {"lstrip": True}),
    ("<right>", {"rstrip": True, "special": True}),
    ("<solo>", {"single_word": True}),
    ("中文词", {"normalized": True, "single_word": True}),
    ("<NEW one>", {"normalized": True, "lstrip": True, "rstrip": True}),
    ("<en", {}),
    ("hello", {"normalized": True, "single_word": True}),
]


class Parity:
    def __init__(self, binary):
        self.binary = binary
        self.compared = self.mismatches = 0

    def check(self, name, spec, strings, limit=NO_LIMIT, side="right", special=True):
        started = time.time()
        bad = 0
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "tokenizer.json")
            path.write_text(json.dumps(spec))
            reference = Tokenizer.from_file(str(path))
            if limit != NO_LIMIT:
                reference.enable_truncation(limit, direction=side)
            for begin in range(0, len(strings), 50000):
                batch = strings[begin:begin + 50000]
                ours = self.run(path, batch, limit, side, special)
                theirs = [e.ids for e in
                          reference.encode_batch_fast(batch, add_special_tokens=special)]
                bad += self.differences(name, batch, ours, theirs)
        self.compared += len(strings)
        self.mismatches += bad
        print(f"{name:46s} {len(strings):8d} strings {bad:6d} mismatches "
              f"{time.time() - started:6.1f} s", flush=True)

    def run(self, path, batch, limit, side, special):
        encoded = [text.encode() for text in batch]
        stdin = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
        command = [self.binary, str(path), str(limit), side, str(int(special))]
        return np.frombuffer(subprocess.run(command, input=stdin, stdout=subprocess.PIPE,
                                            check=True).stdout, np.int32)

    @staticmethod
    def differences(name, batch, ours, theirs):
        """Compares count, ids, count, ids, ...; looks at single texts only if those differ."""
        flat = []
        for ids in theirs:
            flat.append(len(ids))
            flat += ids
        if np.array_equal(ours, np.array(flat, np.int32)):
            return 0
        bad = position = 0
        for text, expected in zip(batch, theirs):
            count = int(ours[position]) if position < len(ours) else None
            # None: an error of ours, or no answer at all. No answer equals it.
            found = None
            if count is not None and count >= 0:
                found = ours[position + 1:position + 1 + count].tolist()
            position += 1 + max(count or 0, 0)
            if found != expected:
                bad += 1
                if bad <= 5:
                    shown = "an error" if found is None else found[:20]
                    print(f"  {name}: {text[:60]!r}: {shown} instead of {expected[:20]}")
        if position != len(ours):
            bad += 1
            print(f"  {name}: {len(ours)} numbers of output, {position} expected")
        return max(bad, 1)


def check_the_check():
    """Every kind of difference must count, or this test proves nothing."""
    texts_, theirs = ["a", "b"], [[5, 6], []]
    same = [2, 5, 6, 0]
    wrong = {
        "another id": [2, 5, 7, 0],
        "an id more": [3, 5, 6, 6, 0],
        "an id less": [1, 5, 0],
        "an error instead of nothing": [2, 5, 6, -1],
        "an error instead of ids": [-1, 0],
        "an answer too many": [2, 5, 6, 0, 0],
        "no last answer": [2, 5, 6],
        "cut within an answer": [2, 5],
        "no answer": [],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        counts = {name: Parity.differences(name, texts_, np.array(ours, np.int32), theirs)
                  for name, ours in wrong.items()}
        none = Parity.differences("same", texts_, np.array(same, np.int32), theirs)
    missed = [name for name, count in counts.items() if count < 1]
    if missed or none != 0:
        sys.exit(f"the comparison is broken: it misses {missed}, and finds {none} in equal output")


def check_scalars(parity, bert, with_tokens):
    for context, form in {"alone": "{}", "between letters": "a{}b",
                          "after a combining mark": "e\u0301{}"}.items():
        strings = [form.format(c) for c in SCALARS]
        parity.check(f"scalars {context}, WordPiece", bert, strings)
    # Bytes show all of what a normaliser did. Here the code space without any character is sampled,
    # and many characters make a string: an "x" between them keeps them apart.
    chosen = [c for c in SCALARS if c < "\U00033480" or "\U000e0000" <= c < "\U000e0200"
              or ord(c) % 61 == 0]

    def joined(form):
        return ["x".join(form.format(c) for c in chosen[i:i + 64]) for i in range(0, len(chosen), 64)]

    normalizers = {
        "uncased": bert["normalizer"],
        "cased": {**bert["normalizer"], "lowercase": False},
        "not cleaned, accents kept": {**bert["normalizer"], "clean_text": False,
                                      "strip_accents": False, "handle_chinese_chars": False},
        "NFD": sequence("NFD"),
        "Lowercase NFD StripAccents": sequence("Lowercase", "NFD", "StripAccents"),
    }
    for name, normalizer in normalizers.items():
        spec = byte_level(normalizer)
        for form in ("a{}b", "e\u0301{}", "e\u0345{}\u0334"):
            parity.check(f"scalars as {form!a}, bytes, {name}", spec, joined(form))
    parity.check("scalars around added tokens", with_tokens,
                 joined("{0}<solo>{0}<left>{0}<right>{0}"))
    parity.check("scalars before <solo>", with_tokens, [c + "<solo>" for c in SCALARS[:0x3000]])


def main():
    if __version__ != PINNED:
        sys.exit(f"needs tokenizers=={PINNED}, found {__version__}; see "
                 "engine/preprocess/generate_unicode_tables.py")
    check_the_check()
    binary, model = sys.argv[1:]
    parity = Parity(binary)
    base = json.loads(pathlib.Path(model, "tokenizer.json").read_text())
    bert = bert_variant(base)
    with_tokens = bert_variant(base, ADDED)
    variants = {
        "uncased": bert,
        "uncased, added tokens": with_tokens,
        "cased": bert_variant(base, ADDED, lowercase=False),
        "cased, accents stripped": bert_variant(base, ADDED, lowercase=False, strip_accents=True),
        "uncased, accents kept": bert_variant(base, ADDED, strip_accents=False),
        "no Chinese, not cleaned": bert_variant(base, ADDED, handle_chinese_chars=False,
                                                clean_text=False),
        "bytes": byte_level(),
        "bytes, prefix space": byte_level(add_prefix_space=True),
        "bytes, NFD": byte_level(sequence("NFD"), True),
    }
    strings = texts(100000)
    for name, spec in variants.items():
        parity.check(f"texts, {name}", spec, strings if name == "uncased" else strings[::7])
    for side in ("right", "left"):
        for limit in (2, 3, 7, 64):
            parity.check(f"texts cut {side} to {limit}", with_tokens, strings[::50], limit, side)
        parity.check(f"texts cut {side} to 5, bare", with_tokens, strings[::50], 5, side, False)
    large = megabytes()
    parity.check("1 MB texts, uncased", bert, large)
    parity.check("1 MB texts, added tokens, cut left", with_tokens, large, 100, "left")
    parity.check("1 MB texts, bytes", byte_level(), large[::4])
    check_scalars(parity, bert, with_tokens)
    print(f"{parity.compared} strings compared, {parity.mismatches} mismatches")
    sys.exit(parity.mismatches > 0)


if __name__ == "__main__":
    main()

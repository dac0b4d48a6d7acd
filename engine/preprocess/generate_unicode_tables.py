#!/usr/bin/env python3
"""Writes unicode_tables.cc by asking Hugging Face `tokenizers` about every Unicode scalar value.

`tokenizers` takes its character data from several Rust crates, each frozen at another Unicode
version (categories, decompositions, lowercase, white space and regex word characters all differ
from one another and from utf8proc and ICU), so no library's tables give identical ids. This script
probes the behaviour itself and stores the answer. Run it again when the pinned version moves:

    pip install tokenizers==0.23.3
    engine/preprocess/generate_unicode_tables.py && script/test
"""

import pathlib

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

PINNED = "0.23.3"
HANGUL = range(0xAC00, 0xD7A4)
SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def bert(**flags):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **flags}).normalize_str


def flag_sets():
    """The behaviour flags of unicode_tables.h, each a set of code points."""
    clean, chinese = bert(clean_text=True), bert(handle_chinese_chars=True)
    nonspacing = bert(strip_accents=True)
    nfd, marks = normalizers.NFD().normalize_str, normalizers.StripAccents().normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    pieces = {c: len(split(f"a{c}b")) for c in SCALARS}
    single_word = Tokenizer(models.BPE())
    single_word.add_tokens([AddedToken("X", single_word=True, normalized=False)])
    found = single_word.encode_batch([c + "X" for c in SCALARS])
    return {
        "kCleanRemoves": [ord(c) for c in SCALARS if clean(c) == ""],
        "kWhitespace": [ord(c) for c in SCALARS if pieces[c] == 2],
        "kPunctuation": [ord(c) for c in SCALARS if pieces[c] == 3],
        "kChinese": [ord(c) for c in SCALARS if chinese(c) == f" {c} "],
        "kNonspacingMark": [ord(c) for c in SCALARS if nfd(c) == c and nonspacing(c) == ""],
        "kCombiningMark": [ord(c) for c in SCALARS if marks(c) == ""],
        "kWordCharacter": [ord(c) for c, e in zip(SCALARS, found) if not e.ids],
    }


def ranges(values):
    """[(first, last, extra)] of consecutive code points; values: {code point: extra}."""
    result = []
    for code in sorted(values):
        if result and result[-1][1] == code - 1 and result[-1][2] == values[code]:
            result[-1][1] = code
        else:
            result.append([code, code, values[code]])
    return result


def combining_classes():
    """{code point: canonical combining class}, seen from what NFD puts in which order."""
    nfd = normalizers.NFD().normalize_str
    import unicodedata  # Only for one representative of every class; verified below.

    highest, lowest = "\u0345", "\u0334"  # Classes 240 and 1.
    stable = [c for c in SCALARS if nfd(c) == c]
    marks = [c for c in stable if nfd(highest + c) != highest + c or nfd(c + lowest) != c + lowest]
    by_class = {}
    for c in marks:
        by_class.setdefault(unicodedata.combining(c), c)
    by_class.pop(0, None)
    order = sorted(by_class)
    for low, high in zip(order, order[1:]):
        assert nfd(by_class[high] + by_class[low]) == by_class[low] + by_class[high]
    result = {}
    for c in marks:
        # The class is the first whose representative neither passes c nor is passed by it.
        same = [k for k in order
                if nfd(by_class[k] + c) == by_class[k] + c and nfd(c + by_class[k]) == c + by_class[k]]
        assert len(same) == 1, hex(ord(c))
        result[ord(c)] = same[0]
    return result


def decompositions():
    nfd = normalizers.NFD().normalize_str
    table = []
    for c in SCALARS:
        full = nfd(c)
        if ord(c) in HANGUL:
            index = ord(c) - 0xAC00
            jamo = [0x1100 + index // 588, 0x1161 + index % 588 // 28, 0x11A7 + index % 28]
            assert [ord(x) for x in full] == jamo[:3 if index % 28 else 2]
        elif full != c:
            table.append(len(full) << 24 | ord(c))
            table.extend(ord(x) for x in full)
    return table


def lowercase():
    """[first, last, step, distance]: every step-th code point of the range moves by distance."""
    lower = normalizers.Lowercase().normalize_str
    special = [c for c in SCALARS if len(lower(c)) != 1]
    assert special == ["\u0130"] and lower("\u0130") == "i\u0307"
    result = []
    for c in SCALARS:
        code, distance = ord(c), ord(lower(c)[0]) - ord(c)
        if distance == 0 or c in special:
            continue
        if result and result[-1][3] == distance:
            first, last, step, _ = result[-1]
            if code - last == step or (first == last and code - last == 2):
                result[-1][1:3] = [code, code - last]
                continue
        result.append([code, code, 1, distance])
    return result


def emit(out, kind, name, rows):
    out.append(f"constexpr {kind} {name}Data[] = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > 100:
            out.append(line)
            line = "   "
        line += f" {row},"
    out.append(line)
    out.append("};")
    out.append(f"const std::span<const {kind}> {name}(({name}Data));\n")


def main():
    assert tokenizers.__version__ == PINNED, f"needs tokenizers=={PINNED}"
    out = [
        f"// Generated by generate_unicode_tables.py from tokenizers {PINNED}. Do not edit.",
        '#include "engine/preprocess/unicode_tables.h"\n',
        "namespace contextpool::engine {\nnamespace {\n",
    ]
    flags = [[a, b, name] for name, codes in flag_sets().items()
             for a, b, _ in ranges(dict.fromkeys(codes, 0))]
    emit(out, "FlagRange", "kFlagRanges", [f"{{{a:#x}, {b:#x}, {n}}}" for a, b, n in flags])
    classes = ranges(combining_classes())
    emit(out, "CombiningClassRange", "kCombiningClassRanges",
         [f"{{{a:#x}, {b:#x}, {k}}}" for a, b, k in classes])
    emit(out, "LowercaseRange", "kLowercaseRanges",
         [f"{{{a:#x}, {b:#x}, {s}, {d}}}" for a, b, s, d in lowercase()])
    emit(out, "char32_t", "kDecompositions", [f"{v:#x}" for v in decompositions()])
    # The arrays are local to the file, the spans are the header's.
    text = "\n".join(out)
    spans = [line for line in text.split("\n") if line.startswith("const std::span")]
    text = "\n".join(line for line in text.split("\n") if not line.startswith("const std::span"))
    text += "\n}  // namespace\n\n" + "\n".join(spans) + "\n\n}  // namespace contextpool::engine\n"
    pathlib.Path(__file__).with_name("unicode_tables.cc").write_text(text)


if __name__ == "__main__":
    main()

"""Real and adversarial texts for the tokeniser's parity test and benchmark. Same seed, same texts."""

import pathlib
import random
import sys

SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]

# Article 1 of the Universal Declaration of Human Rights (public domain), first sentence.
SENTENCES = [
    "All human beings are born free and equal in dignity and rights.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İSTANBUL ılık",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Всі люди народжуються вільними і рівними у своїй гідності та правах. Її їжак",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια. ΟΔΥΣΣΕΥΣ",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. שָׁלוֹם",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "تمام انسان‌ها آزاد به دنیا می‌آیند و از نظر حیثیت و حقوق با هم برابرند.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "人人生而自由,在尊严和权利上一律平等。",
    "すべての人間は、生まれながらにして自由であり、ガギグ ﾊﾟﾋﾟ かつ平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ყველა ადამიანი იბადება თავისუფალი. ᲗᲐᲕᲘᲡᲣᲤᲐᲚᲘ",
    "Բոլոր մարդիկ ծնվում են ազատ ու հավասար։",
    "ሰዎች ሁሉ ነጻና እኩል ሆነው ይወለዳሉ።",
    "ᏂᎦᏓ ᎠᏂᏴᏫ ꮒꭶꮣ",
]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "1️⃣", "❤️", "☺︎", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🧑🏿‍🚀"]
LOOK_ALIKES = ["[CLS]", "[ CLS ]", "[cls]", "[SEP][SEP]", "[MASK]", "[ MASK ]", "[MASK", "MASK]",
               "[[MASK]]", "[mask]", "[UNK]", "##ing", "[PAD]x", "x[PAD]", "[unused5]", "<ent>",
               "<ENT>", "<ent >", "x<ent>", "<ent>x", "café!", "CAFÉ!", "cafe\u0301!", "<left>",
               "  <left>", "<right>  ", " <right>\u3000<left> ", "<solo>", "a<solo>", "_<solo>",
               "-<solo>-", "<solo><solo>", "<solo>́", "中文词", "x中文词y", "中文", "<s", "<new"]
ODD = ["", " ", "\0", "\t", "\n", "\r\n", "\x0b\x0c", "\x7f", "\x85", "\xa0", "\u00ad", "\u200b",
       "\u200d", "\u2028", "\u3000", "\ufeff", "\ufffd", "\ufffe", "\U0010ffff", "\ue000",
       "\u0130", "\u03a3", "\u1e9e", "\u0345", "\u0334", "\u0301", "\u0327", "\u302e", "\U0001d165",
       "\U0001d16d", "\u0344", "\u0f73", "\uac01", "\u1100\u1161\u11a8", "\u212b", "\ufb01",
       "\U0002f800", "\uf900", "\u2126", "'s", "don't", "...", "—", "₁₂", "½", "１２", "ﬀ"]


def library_lines(limit):
    """Lines of the Python standard library: identifiers, prose, code, some not in English."""
    lines = []
    for path in sorted(pathlib.Path(random.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        lines.extend(line for line in text.split("\n") if line.strip())
        if len(lines) > 4 * limit:
            break
    return random.Random(1).sample(lines, min(limit, len(lines)))


def mixture(rng):
    """A string of pieces that do not belong together."""
    pools = [SENTENCES, EMOJI, LOOK_ALIKES, LOOK_ALIKES, ODD, ODD]
    parts = []
    for _ in range(rng.randint(1, 8)):
        part = rng.choice(rng.choice(pools))
        kind = rng.random()
        if kind < 0.2:
            part = part.upper()
        elif kind < 0.4 and part:
            start = rng.randrange(len(part))
            part = part[start:start + rng.randint(1, 12)]
        elif kind < 0.5:
            part = "".join(rng.choice(SCALARS) for _ in range(rng.randint(1, 6)))
        elif kind < 0.6:  # Marks in any order.
            part += "".join(chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(1, 5)))
        parts.append(part)
    return rng.choice(["", " ", "  "]).join(parts)


def texts(count):
    """`count` strings, the hand-picked ones first."""
    rng = random.Random(7)
    result = SENTENCES + EMOJI + LOOK_ALIKES + ODD
    result += [w * n for w in ("a", "é", "中", "x ") for n in (99, 100, 101, 250)]
    result += library_lines(count * 3 // 10)
    while len(result) < count:
        result.append(mixture(rng))
    return result[:count]


def megabytes():
    """Inputs of about 1 MB each."""
    rng = random.Random(9)
    prose = " ".join(SENTENCES)
    mixed = "".join(mixture(rng) for _ in range(20000)).encode()[:1 << 20].decode(errors="ignore")
    return [prose * (1 + (1 << 20) // len(prose.encode())), "a" * (1 << 20), "é" * (1 << 19),
            "\u0301\u0327" * (1 << 18), "[MASK]" * (1 << 17), " " * (1 << 20), "!" * (1 << 18),
            "\U0001f600" * (1 << 18), "[CLS" * (1 << 18), mixed]


if __name__ == "__main__":
    sys.exit("imported by tokenizer_parity.py and tokenizer_bench.py")

#!/usr/bin/env python3
"""Writes contextpool.svg beside this file: the windows are computed, so they are true to scale."""

import math
import pathlib

TOKENS = ["[CLS]", "not", "the", "worst", "film", "of", "the", "year", ".", "[SEP]"]
# Chosen to look like a trained model's; the prefix token has none.
WEIGHTS = [0.0, 0.92, 0.14, 1.0, 0.66, 0.12, 0.16, 0.5, 0.22, 0.3]
# (token, support size, colours of its window and of what it takes)
WINDOWS = [
    (1, 1.7, "#dbe7f6", "#4d82c4"),
    (4, 0.7, "#f8e3d2", "#cf8145"),
    (7, 2.6, "#dff0df", "#5fa35f"),
]

LEFT, PITCH, BOX = 168, 52, 46
WEIGHT_BASE, WEIGHT_HEIGHT = 112, 52
ROW_BASES, ROW_HEIGHT = [237, 328, 419], 60
CARD, CARD_WIDTH = 706, 254
MIDDLE = CARD + 116


def x_of(position: float) -> float:
    return LEFT + PITCH * position


def number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def text(
    x: float,
    y: float,
    content: str,
    size: int = 13,
    fill: str = "#222",
    anchor: str = "middle",
    more: str = "",
) -> str:
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{size}" fill="{fill}" '
        f'text-anchor="{anchor}"{more}>{content}</text>'
    )


def bar(position: int, base: float, height: float, fill: str, width: float = 22) -> str:
    return (
        f'<rect x="{number(x_of(position) - width / 2)}" y="{number(base - height)}" '
        f'width="{number(width)}" height="{number(height)}" fill="{fill}"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, more: str = "") -> str:
    return (
        f'<path d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}" stroke="{stroke}"{more}/>'
    )


def sub(letter: str) -> str:
    return f'<tspan font-size="10" dy="3">{letter}</tspan><tspan dy="-3">&#8203;</tspan>'


def weights() -> list[str]:
    parts = [
        text(20, WEIGHT_BASE - 20, "pooling weight w", anchor="start", more=' font-weight="bold"'),
        text(20, WEIGHT_BASE - 4, "what others take of it", 11, "#666", "start"),
    ]
    for i, (token, weight) in enumerate(zip(TOKENS, WEIGHTS, strict=True)):
        if weight > 0:
            parts.append(bar(i, WEIGHT_BASE, WEIGHT_HEIGHT * weight, "#8f97ab"))
        dash = "" if weight > 0 else ' stroke-dasharray="4 3"'
        parts.append(
            f'<rect x="{number(x_of(i) - BOX / 2)}" y="{WEIGHT_BASE + 6}" width="{BOX}" '
            f'height="24" rx="4" fill="#fff" stroke="#667"{dash}/>'
        )
        parts.append(text(x_of(i), WEIGHT_BASE + 22.5, token, 12))
    parts.append(text(x_of(0), WEIGHT_BASE + 44, "not pooled", 10, "#666"))
    return parts


def window(row: int) -> list[str]:
    center, sigma, light, dark = WINDOWS[row]
    base = ROW_BASES[row]

    def gauss(position: float) -> float:
        return math.exp(-((position - center) ** 2) / (2 * sigma**2))

    first, last = 0.5, len(TOKENS) - 0.5
    points = [first + (last - first) * k / 120 for k in range(121)]
    curve = "L".join(f"{number(x_of(p))} {number(base - ROW_HEIGHT * gauss(p))}" for p in points)
    parts = [
        f'<path d="M{number(x_of(first))} {base}L{curve}L{number(x_of(last))} {base}Z" '
        f'fill="{light}"/>',
        f'<path d="M{curve}" stroke="{dark}" fill="none" stroke-width="1.2"/>',
    ]
    for i, weight in enumerate(WEIGHTS):
        height = ROW_HEIGHT * weight * gauss(i)
        if height >= 0.4:
            parts.append(bar(i, base, height, dark))
    parts.append(line(x_of(first), base, x_of(last), base, "#99a"))
    # The support size as a length, cut where the sequence ends.
    ends, below = (center - sigma, center + sigma), base + 7
    thick = ' stroke-width="2"'
    low, high = max(ends[0], first), min(ends[1], last)
    parts.append(line(x_of(low), below, x_of(high), below, dark, thick))
    parts += [
        line(x_of(end), below - 3, x_of(end), below + 3, dark, thick)
        for end in ends
        if first <= end <= last
    ]
    parts.append(
        text(
            20,
            base - 24,
            f"pool of “{TOKENS[center]}”",
            fill=dark,
            anchor="start",
            more=' font-weight="bold"',
        )
    )
    parts.append(text(20, base - 7, f"support size σ = {sigma:g}", 11, "#666", "start"))
    return parts


def guides() -> list[str]:
    return [
        line(
            x_of(i), WEIGHT_BASE + 30, x_of(i), ROW_BASES[-1], "#e6e8ef", ' stroke-dasharray="2 3"'
        )
        for i in range(1, len(TOKENS))
    ]


def legend() -> list[str]:
    y = 461
    return [
        f'<path d="M20 {y}q10 -20 20 0z" fill="#e4e7ee" stroke="#778"/>',
        text(48, y, f"window of token i, exp(−(i − j)² / 2σ{sub('i')}²)", 12, "#444", "start"),
        f'<rect x="330" y="{y - 11}" width="11" height="11" fill="#778"/>',
        text(
            349, y, f"window times w{sub('j')}: what token i takes of token j", 12, "#444", "start"
        ),
    ]


def box(y: float, height: float, lines: list[str], fill: str = "#fff", stroke: str = "#667") -> str:
    parts = [
        f'<rect x="{MIDDLE - 92}" y="{y}" width="184" height="{height}" rx="5" fill="{fill}" '
        f'stroke="{stroke}"/>'
    ]
    parts += [text(MIDDLE, y + height / 2 + 4.5, content) for content in lines]
    return "".join(parts)


def arrow(y1: float, y2: float) -> str:
    return line(MIDDLE, y1, MIDDLE, y2 - 1, "#444", ' marker-end="url(#a)"')


def around(y1: float, y2: float) -> str:
    """A residual connection, past a box."""
    side = MIDDLE + 116
    return (
        f'<path d="M{MIDDLE} {y1}H{side - 8}q8 0 8 8V{y2 - 8}q0 8 -8 8H{MIDDLE + 95}" '
        f'stroke="#444" fill="none" marker-end="url(#a)"/>'
    )


def layer() -> list[str]:
    parts = [
        f'<rect x="{CARD}" y="40" width="{CARD_WIDTH}" height="424" rx="8" fill="#f4f6fb" '
        'stroke="#9aa7c7"/>',
        text(MIDDLE, 61, "from the layer before", 11, "#666"),
        arrow(66, 90),
        around(75, 150),
        box(90, 32, ["attention"]),
        arrow(122, 136),
        box(136, 28, ["add, LayerNorm"]),
        arrow(164, 184),
        f'<rect x="{MIDDLE - 92}" y="184" width="184" height="112" rx="5" fill="#fff6ea" '
        'stroke="#cf8145" stroke-width="2"/>',
        text(MIDDLE, 204, "ContextPool", 14, more=' font-weight="bold"'),
    ]
    steps = ["two narrow convolutions", "w and σ of every token", "pool of every token"]
    for k, step in enumerate(steps):
        y = 226 + 29 * k
        parts.append(text(MIDDLE, y, step, 12, "#444"))
        if k:
            parts.append(line(MIDDLE, y - 23, MIDDLE, y - 14, "#cf8145", ' marker-end="url(#b)"'))
    parts += [
        arrow(296, 324),
        around(307, 388),
        box(324, 32, ["feed-forward"]),
        arrow(356, 374),
        box(374, 28, ["add, LayerNorm"]),
        arrow(402, 428),
        text(MIDDLE, 444, "to the next layer", 11, "#666"),
    ]
    return parts


def main() -> None:
    markers = "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="{fill}"/>'
        "</marker>"
        for name, fill in (("a", "#444"), ("b", "#cf8145"))
    )
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 482" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        "<title>ContextPool: the windows of three tokens, and its place in a layer</title>",
        f"<defs>{markers}</defs>",
        '<rect width="980" height="482" rx="8" fill="#fff"/>',
        text(
            20,
            28,
            "Every token pools its neighbours",
            15,
            anchor="start",
            more=' font-weight="bold"',
        ),
        text(CARD, 28, "Its place in a layer", 15, anchor="start", more=' font-weight="bold"'),
    ]
    parts += guides() + weights()
    for row in range(len(WINDOWS)):
        parts += window(row)
    parts += legend() + layer() + ["</svg>"]
    pathlib.Path(__file__).with_suffix("").with_name("contextpool.svg").write_text(
        "\n".join(parts) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()

"""Line plots as plain SVG, without a library."""

import dataclasses
import html
import math
import pathlib

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 46, 52
COLOURS = ("#1f6fb4", "#d1602b", "#3a8f4d", "#7a4fa3")


@dataclasses.dataclass
class Plot:
    title: str
    x_label: str
    y_label: str
    # Points (x, y) by the name of their line.
    lines: dict[str, list[tuple[float, float]]]
    dots: bool = False

    def write(self, path: pathlib.Path) -> None:
        path.write_text(self.svg(), encoding="utf-8")

    def svg(self) -> str:
        """Both axes begin at 0, so that a change looks as large as it is."""
        xs, ys = zip(*(point for points in self.lines.values() for point in points))
        x_ticks, y_ticks = ticks(max(xs)), ticks(max(ys))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12" fill="#333">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            text(WIDTH / 2, 20, self.title, "middle", size=14),
            text(WIDTH / 2, HEIGHT - 12, self.x_label, "middle"),
            f'<g transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">'
            f'{text(0, 0, self.y_label, "middle")}</g>',
        ]
        x_of = scale(x_ticks[-1], LEFT, WIDTH - RIGHT)
        y_of = scale(y_ticks[-1], HEIGHT - BOTTOM, TOP)
        for tick in y_ticks:
            y = y_of(tick)
            parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
            parts.append(text(LEFT - 8, y + 4, f"{tick:g}", "end"))
        parts += [text(x_of(tick), HEIGHT - BOTTOM + 18, f"{tick:g}", "middle") for tick in x_ticks]
        for i, (name, points) in enumerate(self.lines.items()):
            parts += self._line(name, [(x_of(x), y_of(y)) for x, y in points], i)
        return "\n".join([*parts, "</svg>\n"])

    def _line(self, name: str, points: list[tuple[float, float]], index: int) -> list[str]:
        colour = COLOURS[index % len(COLOURS)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>']
        if self.dots:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
                      for x, y in points]  # fmt: skip
        if len(self.lines) > 1:
            x = LEFT + 8 + index * 170
            parts.append(f'<path d="M{x} 36h18" stroke="{colour}" stroke-width="3"/>')
            parts.append(text(x + 24, 40, name, "start"))
        return parts


def text(x: float, y: float, words: str, anchor: str, size: int = 12) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
            f"{html.escape(words)}</text>")  # fmt: skip


def scale(highest: float, begin: float, end: float):
    return lambda value: begin + (end - begin) * value / highest


def ticks(highest: float) -> list[float]:
    """From 0 to `highest` or just above it, in four to ten steps of 1, 2 or 5 times 10^n."""
    least = max(highest, 1e-9) / 10
    power = 10 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    return [i * step for i in range(math.ceil(highest / step) + 1)]

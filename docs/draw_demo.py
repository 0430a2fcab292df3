"""Draws what `make run` prints as `docs/demo.svg`:  make run | .venv/bin/python docs/draw_demo.py"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 112
FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
# Each takes the blanks that follow it along: some viewers drop those at the beginning of a piece of text.
STYLES = (
    (r"^\[ *[\d.]+ s\] *", "bright_black"),
    (r"✓ ", "bold green"),
    (r"(?<=\] )(killed|split) ", "bold red"),
    (r"(?<=\] )(restarting |healed |ready: )", "bold cyan"),
    (r"^Summary$|^make run$", "bold"),
)


def select(lines: list[str]) -> list[str]:
    """From the first line with a time on; set-up prints other things on other machines."""
    first = next(number for number, line in enumerate(lines) if line.startswith("["))
    return [line for line in lines[first:] if "report.html" not in line]


def main() -> None:
    """Standard input to the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line in ["make run", *select(sys.stdin.read().rstrip().splitlines())]:
        text = Text(line)
        for pattern, style in STYLES:
            text.highlight_regex(pattern, style)
        console.print(text)
    picture = console.export_svg(title="rialto", unique_id="demo")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # nothing from outside
    picture = picture.replace("Fira Code, monospace", FONT)
    Path(__file__).with_name("demo.svg").write_text(picture)


if __name__ == "__main__":
    main()

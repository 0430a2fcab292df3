"""The benchmarks of parts run and print figures, here over the smallest work that they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "arguments", "figure"),
    [
        ("bench_crosslink", (), "us per transfer"),
        ("bench_pbft", (), "ms of CPU per decided slot"),
        ("bench_replica", ("--rate", "50", "--seconds", "1"), "CPU µs per block per replica"),
        ("bench_venue", ("--traders", "4", "--blocks", "1", "--per-block", "5"), "µs per action"),
    ],
)
def test_a_benchmark_prints_its_figure(name: str, arguments: tuple[str, ...], figure: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert figure in ended.stdout

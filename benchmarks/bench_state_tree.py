"""What the state commitment costs: microseconds per touched record, by number of buckets and block size.

Prints a table on stdout. Every figure is the best of three runs over different records, so that a busy
machine disturbs least.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from primitives.state_tree import StateTree

RECORDS: Final = 100_000
BUCKET_COUNTS: Final = (1024, 4096, 16_384, 65_536)
TOUCHED_COUNTS: Final = (100, 1_000, 10_000, 100_000)
RUNS: Final = 3
KEY_BYTES: Final = 24
VALUE_BYTES: Final = 120


def _make_key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "big")


def _make_value(number: int, version: int) -> bytes:
    return number.to_bytes(8, "big") * (VALUE_BYTES // 8 - 1) + version.to_bytes(8, "big")


def measure_update_us(tree: StateTree, touched: int) -> float:
    """Microseconds per record of a block that changes ``touched`` of the records, spread evenly."""
    stride = RECORDS // touched
    best = float("inf")
    for run in range(RUNS):
        changes: dict[bytes, bytes | None] = {
            _make_key((number * stride + run) % RECORDS): _make_value(number, 1 + touched + run)
            for number in range(touched)
        }
        started = time.perf_counter()
        tree.update(changes)
        best = min(best, time.perf_counter() - started)
    return best / touched * 1e6


def main() -> None:
    """Fill a tree for every number of buckets and time blocks of several sizes on it."""
    header = "".join(f"{touched:>10,}" for touched in TOUCHED_COUNTS)
    sys.stdout.write(f"µs per record in a block that touches …, {RECORDS:,} records\n")
    sys.stdout.write(f"{'buckets':>8}{'fill':>10}{header}\n")
    records: dict[bytes, bytes | None] = {_make_key(n): _make_value(n, 0) for n in range(RECORDS)}
    for bucket_count in BUCKET_COUNTS:
        tree = StateTree(bucket_count)
        started = time.perf_counter()
        tree.update(records)
        fill_us = (time.perf_counter() - started) / RECORDS * 1e6
        figures = "".join(f"{measure_update_us(tree, touched):>10.2f}" for touched in TOUCHED_COUNTS)
        sys.stdout.write(f"{bucket_count:>8,}{fill_us:>10.2f}{figures}\n")


if __name__ == "__main__":
    main()

"""Asking for a passphrase where there is a terminal to ask at."""

from __future__ import annotations

import sys
from collections.abc import Callable
from getpass import getpass


def find_prompt() -> Callable[[str], str] | None:
    """What asks; ``None`` where nobody would answer."""
    return getpass if sys.stdin.isatty() else None

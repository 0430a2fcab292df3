"""The rules of loading libp2p: only what a link needs, whoever is first, and a clear word about the rest."""

from __future__ import annotations

import subprocess
import sys

UNWANTED = ("zeroconf", "requests", "dns", "miniupnpc", "fastecdsa", "libp2p.host", "libp2p.relay")


def run_python(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_a_node_loads_no_stack_that_it_does_not_use() -> None:
    loaded = run_python(
        f"import sys, node.transport; print([name for name in {UNWANTED!r} if name in sys.modules])"
    )
    assert loaded == "[]"


def test_what_a_skipped_package_would_export_is_refused_with_a_reason() -> None:
    program = """
import node.transport
import libp2p
try:
    libp2p.new_host
except AttributeError as error:
    print(error)
"""
    assert "see node/libp2p_parts.py" in run_python(program)


def test_a_libp2p_that_is_there_already_stays_whole() -> None:
    program = "import libp2p, node.transport; print(libp2p.new_host.__name__)"
    assert run_python(program) == "new_host"

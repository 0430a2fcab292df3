"""py-libp2p without its own imports: the parts that we use, and not the stack around them.

``import libp2p.peer.id`` first runs ``libp2p/__init__.py``, which imports everything there is: QUIC, TLS, relays,
mDNS, UPnP, three HTTP clients. That is 0.7 s of CPU and 33 MB of memory in every process, and a machine runs
dozens of them. So the two packages whose ``__init__`` does that are put in place unexecuted; their submodules are
imported as ever, and what the packages themselves would export is refused with a reason. Read against version
0.8.1; ``tests/node/test_libp2p_parts.py`` holds what must stay out.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

UNEXECUTED: Final = ("libp2p", "libp2p.transport")
"""Parents before children."""


def place_packages() -> None:
    """Before the first import of libp2p in this process; later calls, and calls after it, change nothing."""
    for name in UNEXECUTED:
        if name in sys.modules:
            continue
        spec = find_spec(name)
        if spec is None:
            # Whoever imports it is told better than here.
            return
        module = module_from_spec(spec)
        module.__dict__["__getattr__"] = _refuse(name)
        _place(name, module)


def _place(name: str, module: ModuleType) -> None:
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _refuse(package: str) -> Any:
    def refuse(attribute: str) -> Any:
        raise AttributeError(
            f"{package}.{attribute}: a process of ours loads single modules of libp2p (see node/libp2p_parts.py); "
            f"import the module that defines it"
        )

    return refuse

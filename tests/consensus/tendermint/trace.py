"""Step traces of Tendermint as JSON, and a player that compares a core with them, step by step.

A trace is an object of ``title``, ``size`` (n), ``index`` (whose core it is), ``proposers`` (of round r:
``proposers[r % len]``) and ``steps``. A step is ``in``, one input, ``out``, everything that the core answers to it,
in order, and where it matters ``state`` after it. Inputs and outputs are arrays: the name of a class of
``consensus.tendermint.steps``, then its fields in their order:

    {"in": ["Prevote", 2, 0, "a"], "out": [["BroadcastPrecommit", 0, "a"]]}

Values are words (their digests are nobody's concern) and nil is ``null``; a kind of timeout is its name. A
``state`` names any of ``round``, ``step``, ``locked`` and ``valid`` (``[round, value]`` or ``null``),
``decision``. A core does not hear itself: what it broadcasts is an input of its own where the trace says so. Traces
of other models are converted into this form; anything with ``handle`` and these attributes can be played.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from consensus.tendermint import steps
from consensus.tendermint.core import CoreSetup, TendermintCore
from tests.consensus.tokens import make_committee

FOLDER = Path(__file__).parent / "traces"
_VALUE_FIELDS = {"value"}


def load_traces() -> dict[str, dict[str, Any]]:
    """Every stored trace, by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def play(trace: dict[str, Any], make_core: Callable[[CoreSetup], TendermintCore] = TendermintCore) -> Iterator[str]:
    """Feed a fresh core; yields a sentence for every step where it differs from the trace."""
    committee = make_committee(trace["size"])
    proposers = trace["proposers"]
    setup = CoreSetup(
        index=trace["index"],
        quorum=committee.quorum,
        one_honest=committee.faults + 1,
        proposer_of=lambda round: proposers[round % len(proposers)],
    )
    core = make_core(setup)
    words: dict[bytes, str | None] = {steps.NIL: None}
    for number, step in enumerate(trace["steps"], start=1):
        outputs = [_write(output, words) for output in core.handle(_read(step["in"], words))]
        if outputs != step["out"]:
            yield f"step {number}: {step['in']} gave {outputs}, not {step['out']}"
        state = _describe(core, words)
        for name, expected in step.get("state", {}).items():
            if state[name] != expected:
                yield f"step {number}: {name} is {state[name]}, not {expected}"


def _read(array: list[Any], words: dict[bytes, str | None]) -> Any:
    kind = getattr(steps, array[0])
    arguments = []
    for field, given in zip(fields(kind), array[1:], strict=True):
        if field.name in _VALUE_FIELDS:
            digest = steps.NIL if given is None else sha256(given.encode()).digest()
            words[digest] = given
            arguments.append(digest)
        else:
            arguments.append(steps.TimeoutKind[given] if field.name == "kind" else given)
    return kind(*arguments)


def _write(output: Any, words: dict[bytes, str | None]) -> list[Any]:
    array: list[Any] = [type(output).__name__]
    for field in fields(output):
        given = getattr(output, field.name)
        if field.name in _VALUE_FIELDS:
            array.append(words[given])
        else:
            array.append(given.name if field.name == "kind" else given)
    return array


def _describe(core: TendermintCore, words: dict[bytes, str | None]) -> dict[str, Any]:
    locked, valid = core.locked_value, core.valid_value
    return {
        "round": core.round,
        "step": core.step.name,
        "locked": None if locked is None else [core.locked_round, words[locked]],
        "valid": None if valid is None else [core.valid_round, words[valid]],
        "decision": None if core.decision is None else words[core.decision],
    }

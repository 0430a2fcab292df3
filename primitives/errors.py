"""The two error families: ours, and somebody else's.

What lives here: the roots that every other error of the project derives from. What does not: the
stable codes of transaction failures (``shards.codes``), which are results and not exceptions.
"""

from __future__ import annotations


class RialtoError(Exception):
    """Root of both families; never raised itself."""


class LocalError(RialtoError):
    """We, or our operator, did something wrong: bad configuration, a corrupt database, a full disk."""


class RemoteError(RialtoError):
    """A peer or a client did something wrong.

    ``code`` is stable and machine-readable, ``message`` says what to change, ``penalise`` is true where
    no honest sender could have produced the bytes, and ``evidence`` keeps what proves it.
    """

    def __init__(
        self, code: str, message: str, *, penalise: bool = False, evidence: tuple[bytes, ...] = ()
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.penalise = penalise
        self.evidence = evidence

"""What a check concludes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

MAX_PROBLEMS_SHOWN: Final = 5
"""The first few say what is wrong; a thousand more say nothing else."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``detail`` says what was looked at, and what is wrong where ``ok`` is false."""

    name: str
    ok: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """An entry of ``check --json``."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail}


@dataclass(slots=True)
class Findings:
    """Problems and remarks of one check while it runs; the first problems are kept, all are counted."""

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, problem: str) -> None:
        """A rule is broken."""
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS_SHOWN:
            self.problems.append(problem)

    def remark(self, text: str) -> None:
        """Something that the reader should know and that breaks no rule; each once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def conclude(self, name: str, looked_at: str) -> Verdict:
        """The verdict: the problems where there are any, else what was looked at."""
        remarks = "".join(f"; {remark}" for remark in self.remarks[:MAX_PROBLEMS_SHOWN])
        if not self.count:
            return Verdict(name, True, looked_at + remarks)
        more = f" (and {self.count - len(self.problems)} more)" if self.count > len(self.problems) else ""
        return Verdict(name, False, "; ".join(self.problems) + more + remarks)

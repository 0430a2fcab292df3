"""Routes of evidence: what this member keeps against members of its committee."""

from __future__ import annotations

from litestar import Router, get

from node.rpc.context import Context, PathText
from node.rpc.queries import DEFAULT_PAGE, After, Entries, Limit, parse_number, require
from node.rpc.service import Page


@get("/", summary="Evidence against members of this committee")
async def list_evidence(context: Context, after: After = None, limit: Limit = DEFAULT_PAGE) -> Entries:
    """Oldest first, without the messages."""
    return dict(context.service.evidence(Page(after, limit)))


@get("/{number:str}", summary="One item of evidence with its signed messages")
async def show_evidence(context: Context, number: PathText) -> Entries:
    """``bytes`` is what anybody can verify."""
    wanted = parse_number(number, "evidence is numbered from 1")
    return dict(require(context.service.evidence_item(wanted), "evidence of that number"))


evidence_router = Router("/v1/evidence", route_handlers=[list_evidence, show_evidence])

"""The bounds of the RPC interface, each with its reason; the client library keeps to the same numbers."""

from __future__ import annotations

from typing import Final

MAX_BODY_BYTES: Final = 1 << 20
"""Largest request body: a bulk submission of about 4,000 orders, a megabyte of memory per connection."""
MAX_BULK_TRANSACTIONS: Final = 2_048
"""Most transactions in one request: about 0.15 s of signature checks, which must not starve other clients."""
MAX_TRANSACTION_HEX: Final = 128 << 10
"""Longest hexadecimal transaction in a JSON submission (64 KiB of bytes, a whole batch)."""
MAX_TARGET_BYTES: Final = 2_048
"""Longest path with query; the longest legitimate one has about 150 bytes."""
MAX_CONNECTIONS: Final = 512
"""HTTP and WebSocket connections together; further ones are closed at once. Each costs about 40 KiB."""
MAX_REQUESTS_IN_FLIGHT: Final = 256
"""Requests being answered at one moment; more get ``BUSY`` at once instead of a slow timeout."""

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 200
"""Entries of one listing: a response of at most some 100 KiB, made in a millisecond or two."""
MAX_BLOCKS: Final = 100
"""Blocks of one ``/v1/blocks`` response (a header with certificate has 2 KiB)."""
DEFAULT_DEPTH: Final = 20
MAX_DEPTH: Final = 500
"""Levels of one side of a book, in a response and in a stream's snapshot."""
MAX_WAIT_MS: Final = 10_000
"""Longest wait of ``/v1/transactions/{id}?wait_ms=``; below the idle timeouts of clients and proxies."""
MAX_WAITERS: Final = 128
"""Waiting requests at one moment; each is woken by every block."""

BODY_DEADLINE_S: Final = 15
"""A request's body must be complete by then: a trickling client holds a connection no longer."""
IDLE_S: Final = 60
"""A connection without a request, or a WebSocket that answers no ping, is closed after this."""
PING_INTERVAL_S: Final = 20
"""A third of ``IDLE_S``: a live WebSocket client is never taken for dead."""
LINGER_S: Final = 2
"""How long a refused client may go on sending (thrown away) before it is cut off: time to read the refusal."""
WRITE_DEADLINE_S: Final = 10
"""A client that takes no byte for this long is cut off; its queue would otherwise hold memory for ever."""
DRAIN_S: Final = 5
"""How long shutdown waits for requests in flight, after WebSockets got their close frame."""

MAX_STREAM_MESSAGE_BYTES: Final = 4_096
"""Longest message of a WebSocket client: a subscription has about 100 bytes."""
MAX_SUBSCRIPTIONS: Final = 64
"""Topics of one WebSocket."""
MAX_QUEUED_MESSAGES: Final = 1_024
"""Messages waiting for one WebSocket. A subscriber that falls behind loses them and resyncs."""
MAX_QUEUED_BYTES: Final = 4 << 20
"""And their characters: a block's receipts have up to 300 KiB."""
MAX_STREAMS: Final = 128
"""WebSockets of one node; all their queues together stay below what a validator may use."""
STREAM_DEPTH: Final = 100
"""Levels of one side in a stream's book: computed once per block and market while anybody listens."""
MAX_RESYNCS: Final = 16
"""A subscriber that fell behind so often without ever draining its queue is closed with a reason."""

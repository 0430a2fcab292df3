"""How the API reads the transactions, receipts and summaries of the application that a member runs.

One implementation for each kind of chain: a venue, the beacon, a no-op shard. What does not live here: the queries
of a venue's accounts and markets (``shards.queries``), the requests themselves (``node.node_service``).
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from crosslink.beacon import BeaconApplication, decode_beacon_receipt
from crosslink.conservation import BeaconSummary
from crosslink.summary import decode_summary
from node.rpc.json_form import describe
from node.rpc.receipts import describe_receipt, read_receipt_code
from node.rpc.service import Json
from node.validator import Validator
from primitives.codec import decode
from shards.noop.records import compute_record_id, decode_noop_receipt, read_own_receipt
from shards.receipts import count_actions
from shards.transactions import compute_id

MAX_SUMMARY_BYTES: Final = 4 << 20


class ApplicationForms(Protocol):
    """``no_accounts`` is why there are none here, for whoever asks; ``None`` where there are."""

    @property
    def no_accounts(self) -> str | None: ...

    def identify(self, data: bytes) -> bytes:
        """The id of an ordered transaction."""
        ...

    def describe_receipt(self, encoded: bytes) -> Json:
        """The JSON form of a receipt."""
        ...

    def read_code(self, encoded: bytes) -> str:
        """The code in a receipt that our own execution made."""
        ...

    def count_actions(self, encoded: bytes) -> int:
        """How many actions such a receipt reports on."""
        ...

    def describe_summary(self, data: bytes) -> Json:
        """The JSON form of a block's summary."""
        ...


class VenueForms:
    """A shard with accounts and markets."""

    no_accounts = None

    def identify(self, data: bytes) -> bytes:
        return compute_id(data)

    def describe_receipt(self, encoded: bytes) -> Json:
        return describe_receipt(encoded)

    def read_code(self, encoded: bytes) -> str:
        return read_receipt_code(encoded)

    def count_actions(self, encoded: bytes) -> int:
        return count_actions(encoded)

    def describe_summary(self, data: bytes) -> Json:
        return _describe(decode_summary(data))


class BeaconForms:
    """The beacon: its transactions are submissions and reports, which only its application can read."""

    no_accounts = "this is a beacon member; accounts and markets are on the shards"

    def __init__(self, beacon: BeaconApplication) -> None:
        self._beacon = beacon

    def identify(self, data: bytes) -> bytes:
        return self._beacon.decode(data).id

    def describe_receipt(self, encoded: bytes) -> Json:
        return _describe(decode_beacon_receipt(encoded))

    def read_code(self, encoded: bytes) -> str:
        return decode_beacon_receipt(encoded).code

    def count_actions(self, encoded: bytes) -> int:
        """None are counted: what the beacon orders, shards and not clients have asked for."""
        return 0

    def describe_summary(self, data: bytes) -> Json:
        summary: BeaconSummary = decode(BeaconSummary, data, max_bytes=MAX_SUMMARY_BYTES)
        return _describe(summary)


class NoopForms:
    """A no-op shard: transactions are opaque records, an action is a command in one."""

    no_accounts = "this shard runs the no-op application: it has no accounts, markets or transfers"

    def identify(self, data: bytes) -> bytes:
        return compute_record_id(data)

    def describe_receipt(self, encoded: bytes) -> Json:
        return _describe(decode_noop_receipt(encoded))

    def read_code(self, encoded: bytes) -> str:
        return read_own_receipt(encoded).code

    def count_actions(self, encoded: bytes) -> int:
        return read_own_receipt(encoded).commands

    def describe_summary(self, data: bytes) -> Json:
        return _describe(decode_summary(data))


def choose_forms(validator: Validator) -> ApplicationForms:
    """Those of the application that this member runs."""
    if validator.beacon is not None:
        return BeaconForms(validator.beacon)
    return VenueForms() if validator.noop is None else NoopForms()


def _describe(value: Any) -> Json:
    described: Json = describe(value)
    return described

"""The ``opaque`` workload: records of fixed-size commands for no-op shards, as cheap to make as they can be.

Every record has a head of its own (which load, which shard, which number) and shares the rest with all others, so
that the client's processor is left to the validators. With a rate, records are due at random times (a Poisson
process, unless a bench draws the gaps otherwise; open loop); without one, the generator's window paces them (closed
loop).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from primitives.errors import LocalError
from shards.noop.parameters import parse_noop_parameters
from testnet.directory import Network
from testnet.workloads.options import LoadOptions
from testnet.workloads.plan import FundingNeed, Lane, PlannedTransaction

HEAD_BYTES: Final = 24
"""A load's number (12 bytes), a shard's (4), a record's (8): no two records are ever the same."""
DrawGap = Callable[[random.Random, float], float]


class OpaqueWorkload:
    """See ``plan.Workload``: records of ``commands_per_batch`` commands to every no-op shard of the network."""

    ordered = False

    def __init__(
        self,
        network: Network,
        options: LoadOptions,
        load_number: int,
        draw_gap: DrawGap = random.Random.expovariate,
    ) -> None:
        """``draw_gap(dice, rate)`` gives the seconds between two records. Raises ``LocalError`` where no shard
        takes such records."""
        self._draw_gap = draw_gap
        self._options = options
        self._load_number = load_number
        self._size_bytes = options.payload_bytes * options.commands_per_batch
        self._shards = tuple(shard for shard in network.shards if shard not in network.venues)
        if not self._shards:
            raise LocalError('this network has no no-op shard: its topology needs application = "noop"')
        if self._size_bytes < HEAD_BYTES:
            raise LocalError(f"a record has at least {HEAD_BYTES} bytes; take larger or more commands")
        for shard in self._shards:
            self._validate_size(network, shard)

    def _validate_size(self, network: Network, shard: int) -> None:
        genesis = network.genesis
        parameters = parse_noop_parameters(genesis.shard(shard).application, genesis.parameters)
        if self._options.payload_bytes != parameters.command_bytes:
            raise LocalError(
                f"--payload-bytes: commands of shard {shard} have {parameters.command_bytes} bytes, "
                f"not {self._options.payload_bytes}"
            )
        if self._size_bytes > parameters.max_record_bytes:
            most = parameters.max_record_bytes // parameters.command_bytes
            raise LocalError(f"--commands-per-batch: a record of shard {shard} holds at most {most} commands")

    def list_needs(self) -> Sequence[FundingNeed]:
        return ()

    def derive_seeds(self) -> Mapping[bytes, bytes]:
        return {}

    def build_lanes(self) -> Sequence[Lane]:
        return [Lane(f"shard{shard}", self._generate(shard)) for shard in self._shards]

    def compute_oracle_prices(self, shard: int, elapsed_s: float) -> Mapping[int, int]:
        return {}

    def list_topics(self, shard: int) -> Sequence[str]:
        return ()

    def on_message(self, shard: int, message: Mapping[str, Any]) -> None:
        """Nothing is subscribed."""

    def on_outcome(self, plan: PlannedTransaction, code: str) -> None:
        """The plan does not depend on it."""

    def describe(self) -> dict[str, Any]:
        options = self._options
        return {"payload_bytes": options.payload_bytes, "commands_per_batch": options.commands_per_batch}

    def _generate(self, shard: int) -> Iterator[PlannedTransaction]:
        options = self._options
        dice = random.Random(f"opaque:{options.seed}:{shard}")
        rate = 0.0 if options.in_flight else options.rate / len(self._shards)
        head = self._load_number.to_bytes(12, "big") + shard.to_bytes(4, "big")
        rest = dice.randbytes(self._size_bytes - HEAD_BYTES)
        commands = options.commands_per_batch
        now_s, number = 0.0, 0
        while True:
            now_s += self._draw_gap(dice, rate) if rate else 0.0
            record = b"".join((head, number.to_bytes(8, "big"), rest))
            yield PlannedTransaction(now_s if rate else None, shard, b"", (), opaque=record, commands=commands)
            number += 1


def open_opaque(network: Network, options: LoadOptions, load_number: int) -> OpaqueWorkload:
    """The workload that the options describe; raises ``LocalError``."""
    if options.rate <= 0 and not options.in_flight:
        raise LocalError("--rate must be above 0 transactions a second, or --in-flight be given")
    return OpaqueWorkload(network, options, load_number)

"""CPU per transaction of the replica itself: four replicas on virtual time, a toy application, no IO.

    python -m benchmarks.bench_replica [--rate 2000] [--seconds 5] [--per-request 10] [--profile]

Signatures are simulated by default, so that what is printed is everything but them (a real one adds about 60 µs per
transaction and replica); ``--ed25519`` uses the real scheme. *Certified* means a quorum attested the block.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from time import process_time_ns

from node.events import Effects, ReplicaEvent
from node.replica import Replica
from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from tests.consensus.tokens import TokenSigner
from tests.node.replica_cluster import Cluster
from tests.node.toy_application import ToyApplication, make_transaction

SENDERS = 64
STEP_MS = 20


class MeteredReplica:
    """A replica whose CPU time is counted."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.cpu_ns = 0
        self.calls = 0

    @property
    def busy(self) -> bool:
        return self._replica.busy

    def handle(self, event: ReplicaEvent, now_ms: int) -> Effects:
        started = process_time_ns()
        effects = self._replica.handle(event, now_ms)
        self.cpu_ns += process_time_ns() - started
        self.calls += 1
        return effects

    def work(self, now_ms: int) -> Effects:
        started = process_time_ns()
        effects = self._replica.work(now_ms)
        self.cpu_ns += process_time_ns() - started
        self.calls += 1
        return effects

    def __getattr__(self, name: str) -> object:
        return getattr(self._replica, name)


class MeteredApplication:
    """The toy application, whose own CPU time is not the replica's."""

    def __init__(self, application: ToyApplication) -> None:
        self.cpu_ns = 0
        for name in ("decode", "verify", "admit", "execute"):
            self._wrap(application, name)

    def _wrap(self, application: ToyApplication, name: str) -> None:
        inner = getattr(application, name)

        def metered(*arguments: object) -> object:
            started = process_time_ns()
            try:
                return inner(*arguments)
            finally:
                self.cpu_ns += process_time_ns() - started

        setattr(application, name, metered)


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=2_000, help="transactions a second over the committee")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--per-request", type=int, default=10)
    parser.add_argument("--ed25519", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    signers = [Ed25519Signer(derive_seed(bytes(32), "member", index)) for index in range(4)]
    cluster = Cluster(delay_ms=1, scheme=Ed25519(), signers=signers) if options.ed25519 else Cluster(delay_ms=1)
    cluster.start()
    meters = []
    for node in cluster.nodes:
        assert node.replica is not None
        meter = MeteredReplica(node.replica)
        meters.append(meter)
        node.replica = meter  # type: ignore[assignment]
    applications = [MeteredApplication(node.application) for node in cluster.nodes]
    requests = _make_requests(options.rate * options.seconds, options.per_request, options.ed25519)
    profiler = cProfile.Profile()
    if options.profile:
        profiler.enable()
    _offer(cluster, requests, options.rate, options.per_request)
    if options.profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    _report(cluster, meters, applications, options.rate * options.seconds)


def _make_requests(count: int, per_request: int, real: bool) -> list[list[bytes]]:
    signers = [
        Ed25519Signer(derive_seed(bytes(32), number)) if real else TokenSigner(f"sender {number}")
        for number in range(SENDERS)
    ]
    data = [
        make_transaction(signers[number % SENDERS], number // SENDERS + 1, b"key%d" % (number % 997), bytes(96))
        for number in range(count)
    ]
    return [data[start : start + per_request] for start in range(0, count, per_request)]


def _offer(cluster: Cluster, requests: list[list[bytes]], rate: int, per_request: int) -> None:
    """All requests of one sender go to one member, as a client's would."""
    sent = 0
    started_ms = cluster.now_ms
    while sent < len(requests):
        cluster.run(STEP_MS)
        due = (cluster.now_ms - started_ms) * rate // (1_000 * per_request)
        for request in requests[sent:due]:
            cluster.submit(sent % 4, *request)
            sent += 1
    total = sum(len(request) for request in requests)
    cluster.run_until(lambda: min(cluster.statistics(index).executed_transactions for index in range(4)) == total)
    cluster.run_until(lambda: min(cluster.heights()) == cluster.statistics(0).height)


def _report(
    cluster: Cluster, meters: list[MeteredReplica], applications: list[MeteredApplication], count: int
) -> None:
    blocks = cluster.heights()[0]
    members = 1_000 * len(meters)
    application = sum(meter.cpu_ns for meter in applications) // members
    each = sum(meter.cpu_ns for meter in meters) // members - application
    print(f"application's CPU per tx      {application / count:.1f} µs")  # noqa: T201
    print(f"transactions certified        {count}")  # noqa: T201
    print(f"blocks                        {blocks} ({count // blocks} transactions each)")  # noqa: T201
    print(f"events per replica            {meters[0].calls}")  # noqa: T201
    print(f"CPU per replica               {each // 1_000} ms")  # noqa: T201
    print(f"CPU µs per tx per replica     {each / count:.1f}")  # noqa: T201
    print(f"CPU µs per block per replica  {each // blocks}")  # noqa: T201


if __name__ == "__main__":
    main()

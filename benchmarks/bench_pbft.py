"""What PBFT costs: CPU per decided slot over a committee of four in memory, with real signatures.

Everything that an engine does for a slot is in: encoding, decoding, every signature made and verified on all
members. Disks, sockets, payloads' bodies and execution are not. Certificates are made by hand outside the
measured time. ``decided`` means decided, not certified. ``--profile`` prints where the time goes.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections import deque
from typing import Any, Final

from consensus.certificate import Certificate, attest
from consensus.committee import Committee
from consensus.engine import (
    BuildPayload,
    Certified,
    EngineParameters,
    Event,
    MessageReceived,
    ObtainPayload,
    PayloadBuilt,
    PayloadHeld,
    Started,
    Work,
    WorkLevel,
)
from consensus.pbft.engine import PbftEngine, PbftFactory
from primitives.hashing import ZERO_DIGEST
from primitives.signing import Ed25519, Ed25519Signer, derive_seed

MEMBERS: Final = 4
WINDOW_SLOTS: Final = 8
ROUNDS: Final = 40
RUNS: Final = 3
PAYLOAD_BYTES: Final = 1_000


class CountingScheme(Ed25519):
    """Ed25519 that counts."""

    def __init__(self) -> None:
        self.verifications = 0

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """The same, counted."""
        self.verifications += 1
        return super().verify(public_key, message, signature)


class Network:
    """Four engines and one queue of what happens next."""

    def __init__(self) -> None:
        self.signers = [Ed25519Signer(derive_seed(b"bench", index)) for index in range(MEMBERS)]
        self.committee = Committee(ZERO_DIGEST, 0, 0, 0, tuple(signer.public_key for signer in self.signers))
        self.scheme = CountingScheme()
        self.factory = PbftFactory()
        parameters = EngineParameters(window_slots=WINDOW_SLOTS)
        self.engines: list[PbftEngine] = [
            self.factory.create(self.committee, signer, self.scheme, parameters, None) for signer in self.signers
        ]
        self.queue: deque[tuple[int, Event | bytes]] = deque()
        self.decided = 0
        self.messages = 0
        self.dropped = 0
        for index in range(MEMBERS):
            self.queue.append((index, Started()))
            self.queue.append((index, Work(WorkLevel.PENDING)))

    def run(self) -> None:
        """Until nothing is left to do: the window is full and decided."""
        while self.queue:
            index, item = self.queue.popleft()
            event = self.read(index, item) if isinstance(item, bytes) else item
            if event is not None:
                self.handle(index, event)

    def read(self, index: int, data: bytes) -> Event | None:
        """What a replica does with a frame."""
        self.messages += 1
        signer, message = self.factory.decode_message(data, self.committee)
        if not self.engines[index].needs(signer, message):
            self.dropped += 1
            return None
        self.factory.verify_message(signer, message, self.committee, self.scheme)
        return MessageReceived(signer, message)

    def handle(self, index: int, event: Event) -> None:
        """One event, and what follows from it."""
        output = self.engines[index].handle(event, 0)
        for send in output.send:
            for member in range(MEMBERS):
                if member != index and send.to in (None, member):
                    self.queue.append((member, send.message))
        for wish in output.wishes:
            self.answer(index, wish)
        self.decided += len(output.decided)

    def answer(self, index: int, wish: Any) -> None:
        """Payloads are there at once."""
        if isinstance(wish, BuildPayload):
            payload = wish.slot.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)
            self.queue.append((index, PayloadBuilt(wish.ticket, payload)))
        elif isinstance(wish, ObtainPayload) and wish.payload is not None:
            self.queue.append((index, PayloadHeld(wish.slot, wish.digest, wish.payload, valid=True)))

    def certify(self, height: int) -> None:
        """Move every window up."""
        quorum = self.committee.quorum
        attestations = [attest(self.committee, signer, height, ZERO_DIGEST) for signer in self.signers[:quorum]]
        signatures = tuple(attestation.signature for attestation in attestations)
        certificate = Certificate(0, 0, height, ZERO_DIGEST, tuple(range(quorum)), signatures)
        for index in range(MEMBERS):
            self.queue.append((index, Certified(height, certificate)))


def measure() -> tuple[float, Network]:
    """CPU milliseconds per decided slot over the committee."""
    network = Network()
    network.run()
    spent = 0.0
    slots = 0
    network.messages = network.dropped = network.scheme.verifications = 0
    for _ in range(ROUNDS):
        network.certify((slots // WINDOW_SLOTS + 1) * WINDOW_SLOTS)
        started = time.process_time()
        network.run()
        spent += time.process_time() - started
        slots += WINDOW_SLOTS
    assert network.decided == (slots + WINDOW_SLOTS) * MEMBERS, "every member decides every slot"
    return spent / slots * 1e3, network


def main() -> None:
    """Print the best of several runs and what was counted in it."""
    if "--profile" in sys.argv:
        with cProfile.Profile() as profile:
            measure()
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(30)
        return
    results = [measure() for _ in range(RUNS)]
    best, network = min(results, key=lambda result: result[0])
    slots = ROUNDS * WINDOW_SLOTS
    sys.stdout.write(f"n = {MEMBERS}, window {WINDOW_SLOTS}, payload {PAYLOAD_BYTES} bytes, real Ed25519\n")
    sys.stdout.write(f"{best:.2f} ms of CPU per decided slot over the committee (best of {RUNS})\n")
    sys.stdout.write(
        f"{network.messages / slots:.1f} messages, {network.scheme.verifications / slots:.1f} verified, "
        f"{network.dropped / slots:.1f} dropped unverified, per slot\n"
    )


if __name__ == "__main__":
    main()

"""Rules against liars: twins, invalid payloads, floods, and bytes that no honest member sends.

The suite knows no message of the engine, so its liars are made from honest processes: a *twin* is two of them with
one key. Where a message must be one that no honest process sends, its bytes are changed, and the engine under test
is given a signature scheme that accepts whatever the liar is said to have signed.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from consensus.certificate import Certificate
from consensus.engine import (
    Certified,
    Engine,
    EngineFactory,
    MessageReceived,
    PayloadBuilt,
    PayloadHeld,
    PeerConnected,
    Started,
    TimerFired,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme
from testnet.conformance.candidate import Candidate
from testnet.conformance.member import INVALID, Member
from testnet.conformance.outages import OUTAGE_MS, brave_twin_storms
from testnet.conformance.world import Committee, RuleBroken, Weather, require

MUTATIONS: Final = 12
"""Of each message of a run."""
FLOOD_PAYLOAD_BYTES: Final = 24 << 10
FLOOD_BLOCKS: Final = 160
BOOKKEEPING_BYTES: Final = 256 << 10
"""What an engine may hold beside payloads, of one liar in a small window."""


# --- liars among members -----------------------------------------------------------------------------------


def check_an_equivocating_leader_is_survived_and_accused(candidate: Candidate) -> None:
    """The leader is two processes: nobody honest decides differently, work goes on, somebody has proof."""
    leader = candidate.find_first_leader()
    committee = candidate.committee(twins=(leader,), overdue_ms=2_000)
    for _ in range(6):
        committee.submit(2)
        committee.run(400)
    committee.finish(OUTAGE_MS, f"m{leader} is two processes")
    _require_evidence(committee, leader, "two proposals for one place")


def check_conflicting_votes_are_accused(candidate: Candidate) -> None:
    """A voter is two processes that hear one half of an equivocating leader each, so it votes for both."""
    leader = candidate.find_first_leader(7)
    voter = (leader + 2) % 7
    committee = candidate.committee(7, twins=(leader, voter), overdue_ms=2_000)

    def reach(sender: Member, receiver: Member) -> bool:
        """First twins hear first twins only, second ones second ones."""
        if {sender.index, receiver.index} != {leader, voter}:
            return True
        return sender.name.endswith("'") == receiver.name.endswith("'")

    committee.reach = reach
    for _ in range(6):
        committee.submit(2)
        committee.run(400)
    committee.finish(OUTAGE_MS, f"m{leader} and m{voter} are two processes each")
    _require_evidence(committee, voter, "two votes for one place")


def _require_evidence(committee: Committee, culprit: int, what: str) -> None:
    found = {evidence.culprit for member in committee.alive for evidence in member.evidence}
    require(culprit in found, f"nobody has evidence against member {culprit}: {what}")


def check_twins_in_storms_do_no_harm(candidate: Candidate) -> None:
    """Up to f members are two processes each, amid storms."""
    brave_twin_storms(candidate)


def check_invalid_payloads_are_never_decided(candidate: Candidate) -> None:
    """A leader proposes payloads that are invalid: nobody honest votes for one, and others lead instead."""
    for liar in range(4):
        committee = candidate.committee(overdue_ms=2_000)
        committee.members[liar].is_honest = False
        committee.members[liar].forge = lambda payload: INVALID + payload
        committee.submit(6)
        committee.finish(OUTAGE_MS, f"m{liar} proposes invalid payloads")


def check_a_leader_that_serves_only_some_is_survived(candidate: Candidate) -> None:
    """A leader that hears everybody and speaks to one member alone: the others lead without it."""
    leader = candidate.find_first_leader()
    for favourite in [index for index in range(4) if index != leader]:
        committee = candidate.committee(overdue_ms=2_000)
        committee.members[leader].is_honest = False
        committee.reach = partial(_speaks_to_one, leader, favourite)
        committee.submit(6)
        committee.finish(OUTAGE_MS, f"m{leader} speaks to m{favourite} alone")


def _speaks_to_one(leader: int, favourite: int, sender: Member, receiver: Member) -> bool:
    return sender.index != leader or receiver.index == favourite


# --- floods ------------------------------------------------------------------------------------------------


def check_floods_are_bounded(candidate: Candidate) -> None:
    """One member's well-signed messages of a hundred slots, sent to a member that has certified none: what it keeps
    of them is bounded by the window, and by bytes of that sender."""
    parameters = candidate.parameters(max_payload_bytes=FLOOD_PAYLOAD_BYTES + 1_024)
    source = candidate.committee(parameters=parameters)
    source.padding = bytes([46]) * FLOOD_PAYLOAD_BYTES
    while source.tip < FLOOD_BLOCKS:
        source.submit(8)
        source.finish(OUTAGE_MS, "no faults")
    said = {
        member.name: [data for name, data in source.sent_data if name == member.name] for member in source.members
    }
    loudest = max(source.members, key=lambda member: sum(map(len, said[member.name])))
    target = (loudest.index + 1) % source.size
    largest = (parameters.window_slots + 2) * parameters.max_payload_bytes + BOOKKEEPING_BYTES
    flood = said[loudest.name]
    require(sum(map(len, flood)) > 2 * largest, "the flood is too small to show anything")
    for order in (flood, flood[::-1]):
        common = (source.public, source.signers[target], source.scheme, parameters, None)
        engine = candidate.factory.create(*common)
        engine.handle(Started(), 0)
        _require_bounded(candidate.factory, source, engine, order, largest)


def _require_bounded(
    factory: EngineFactory, source: Committee, engine: Engine, flood: list[bytes], largest: int
) -> None:
    tracemalloc.start()
    try:
        for place, data in enumerate(flood):
            _hear(factory, source, source.scheme, engine, bytes(bytearray(data)), place)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    buffered = engine.statistics().buffered_bytes
    require(buffered <= largest, f"of a flood it says it keeps {buffered} bytes, {largest} are enough")
    require(held <= 2 * largest, f"of a flood it keeps {held} bytes, {2 * largest} are enough")


def _hear(
    factory: EngineFactory, source: Committee, scheme: SignatureScheme, engine: Engine, data: bytes, now_ms: int
) -> None:
    """As a replica does; a ``RemoteError`` on the way ends it."""
    try:
        signer, message = factory.decode_message(data, source.public)
        _require_signer(source, signer)
        if not engine.needs(signer, message):
            return
        factory.verify_message(signer, message, source.public, scheme)
    except RemoteError:
        return
    engine.handle(MessageReceived(signer, message), now_ms)


def _require_signer(source: Committee, signer: object) -> None:
    is_member = type(signer) is int and 0 <= signer < source.size
    require(is_member, f"decode_message names {signer!r} as the signer, which is no member")


# --- bytes that nobody sent --------------------------------------------------------------------------------


class GullibleScheme:
    """Accepts everything that one member is said to have signed: that member signs whatever it likes."""

    def __init__(self, honest: SignatureScheme, liar_key: bytes) -> None:
        self._honest = honest
        self._liar_key = liar_key

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """True for the liar's key, else the honest scheme's answer."""
        return public_key == self._liar_key or self._honest.verify(public_key, message, signature)


def check_hostile_bytes_do_nothing_worse_than_remote_errors(candidate: Candidate) -> None:
    """Reading raises ``RemoteError`` or gives a member's message, whatever the bytes; handling what a liar signed
    never raises, and accuses nobody else."""
    source = _record_troubled_run(candidate)
    rng = random.Random("hostile bytes")
    samples = _pick_samples(source)
    for place, member in enumerate(source.members[:2]):
        liar = (member.index + 2) % source.size
        for share in (3, 2, 1):
            scheme = GullibleScheme(source.scheme, source.public.members[liar])
            engine, now_ms = _relive(candidate.factory, source, member, scheme, share)
            for data in _corrupt(samples, rng):
                _hear_liar(candidate.factory, source, scheme, engine, data, now_ms, liar)
                now_ms += place


def _record_troubled_run(candidate: Candidate) -> Committee:
    committee = candidate.committee(absent=range(4), weather=Weather(loss_percent=5, max_delay_ms=20), seed=9)
    for member in committee.members:
        member.history = []
        member.start()
    committee.submit(6)
    committee.run(400)
    leader = committee.members[committee.find_leader()]
    leader.crash()
    committee.submit(6)
    committee.run(3_000)
    leader.start()
    committee.finish(OUTAGE_MS, "a leader was down for a while")
    return committee


def _pick_samples(source: Committee, of_each: int = 10) -> list[bytes]:
    """Some messages of each kind, from all over the run."""
    kinds: dict[str, list[bytes]] = {}
    for _, data in source.sent_data:
        _, message = source.factory.decode_message(data, source.public)
        kinds.setdefault(type(message).__name__, []).append(data)
    return [data for _, found in sorted(kinds.items()) for data in found[:: -(-len(found) // of_each)]]


def _relive(
    factory: EngineFactory, source: Committee, member: Member, scheme: SignatureScheme, share: int
) -> tuple[Engine, int]:
    """The member's engine as it was after 1 / ``share`` of its first life, under another scheme, and the time."""
    assert member.history is not None, "this member was recorded"
    lives = [place for place, step in enumerate(member.history) if step.event is None]
    first_life = member.history[1 : lives[1] if len(lives) > 1 else None]
    engine = factory.create(source.public, source.signers[member.index], scheme, source.parameters, None)
    now_ms = 0
    for step in first_life[: len(first_life) // share]:
        assert step.event is not None, "events only"
        now_ms = step.now_ms
        engine.handle(step.event, now_ms)
    return engine, now_ms


def _corrupt(samples: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """The samples as they are, and with a few bytes changed, cut, added or swapped; then plain rubbish."""
    for sample in samples:
        yield sample
        for _ in range(MUTATIONS):
            data = bytearray(sample)
            place = rng.randrange(len(data))
            match rng.randrange(6):
                case 0:
                    data[place] ^= 1 << rng.randrange(8)
                case 1:
                    del data[place:]
                case 2:
                    data[place:place] = rng.randbytes(rng.randint(1, 9))
                case 3:
                    head = rng.randrange(min(24, len(data)))
                    data[head] = rng.choice((0, 1, 2, 3, 5, 0x7F, 0x90, 0xC0, 0xC4, 0xCF, 0xD9, 0xDC, 0xFF))
                case 4:
                    other = rng.choice(samples)
                    data[place:] = other[rng.randrange(len(other)) :]
                case _:
                    for _ in range(2):
                        data[rng.randrange(min(40, len(data)))] = rng.randrange(128)
            yield bytes(data)
    yield from (b"", b"\x90", b"\xc0", b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xa1")
    yield from (rng.randbytes(rng.randint(1, 200)) for _ in range(200))


def _hear_liar(
    factory: EngineFactory,
    source: Committee,
    scheme: SignatureScheme,
    engine: Engine,
    data: bytes,
    now_ms: int,
    liar: int,
) -> None:
    try:
        signer, message = factory.decode_message(data, source.public)
        _require_signer(source, signer)
        if not engine.needs(signer, message):
            return
        factory.verify_message(signer, message, source.public, scheme)
    except RemoteError:
        return
    except Exception as error:
        raise RuleBroken(f"reading {data[:80].hex()} ({len(data)} bytes) raises {error!r}") from error
    try:
        output = engine.handle(MessageReceived(signer, message), now_ms)
    except Exception as error:
        raise RuleBroken(f"handling {describe(message)} of member {signer} raises {error!r}") from error
    accused = {evidence.culprit for evidence in output.evidence}
    require(accused <= {liar}, f"{describe(message)} made it accuse members {sorted(accused)}, the liar is {liar}")


def describe(message: Any) -> str:
    """A message in a line."""
    return repr(message)[:300]


def check_strange_events_are_ignored(candidate: Candidate) -> None:
    """Timers that were not set or fire early, answers to wishes that nobody has, old certificates, starts twice:
    they come late from honest replicas, too."""
    source = _record_troubled_run(candidate)
    for member in source.members:
        for share in (4, 2, 1):
            engine, now_ms = _relive(candidate.factory, source, member, source.scheme, share)
            settled: Certificate = source.members[member.index].chain[0].certificate
            digest = compute_payload_digest(b"strange")
            names = {order.timer for step in member.history or () for order in step.output.timers}
            events: list[Any] = [TimerFired("nobody's"), *[TimerFired(name) for name in sorted(names)]]
            events += [PayloadBuilt(ticket, b"strange") for ticket in (-1, 0, 10**9)]
            events += [PayloadHeld(slot, digest, b"strange", valid=True) for slot in (0, 1, 5, 10**9)]
            events += [PayloadHeld(slot, digest, b"strange", valid=False) for slot in (0, 1, 5)]
            events += [Certified(1, settled), Certified(1, settled), PeerConnected(member.index)]
            events += [Work(level) for level in (WorkLevel.OVERDUE, WorkLevel.OVERDUE, WorkLevel.IDLE)]
            events += [Started()]
            for event in events:
                _require_calm(engine, event, now_ms, digest)


def _require_calm(engine: Engine, event: Any, now_ms: int, digest: bytes) -> None:
    try:
        output = engine.handle(event, now_ms)
    except Exception as error:
        raise RuleBroken(f"a strange {event!r} raises {error!r}") from error
    said = [send.message for send in output.send if digest in send.message]
    require(not said, f"a strange {event!r} made it speak about a payload that nobody proposed")
    require(not output.evidence, f"a strange {event!r} made it accuse somebody")

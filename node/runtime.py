"""One validator's process at run time: the pump, the links, the API and the control socket in one nursery.

Start: open the home, build the replica, bind the API's port, listen for peers, write ``process.json``, start the
pump. Stop (a signal, the control socket, ``Halted``): streams get their close frame and requests are drained,
then the pump ends between two rounds, links close, databases close. A second signal ends the process at once.
When the replica asks to be opened anew (it has installed a snapshot), the same happens but for the databases, and
everything starts again with the same ports and addresses.

What does not live here: what a replica is made of (``node.validator``), what the API answers
(``node.node_service``), any protocol decision.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import trio
from trio_typing import TaskStatus

from node.clock import monotonic_ms, wall_ms
from node.control import serve_control
from node.events import BlockCertified, LinkDown, LinkUp, Outgoing, Start
from node.home import OpenHome, open_home
from node.link_faults import FaultRule, LinkFaults
from node.logs import configure_logging, member_logger
from node.members import Member
from node.metrics import Metrics
from node.node_service import ReplicaService
from node.process_file import ProcessFile, remove_process_file, write_process_file
from node.process_memory import set_allocator, settle_collector
from node.pump import Pump
from node.rpc.app import RpcApplication
from node.rpc.server import RpcListener, RpcServer
from node.snapshot import describe_joining
from node.transport import Transport
from node.transport_config import TransportConfig
from node.validator import PlacedSeed, Validator, build_validator
from primitives.errors import LocalError
from primitives.signing import check_verification_rule

SLOW_SYNC_US = 8_000
"""A disk whose median sync takes longer than a round of the pump would stall the links on the loop thread. Less
does not pay: the hop to a worker thread and back waits up to 5 ms for the interpreter's lock, and costs CPU."""
CHANGES_PERIOD_S = 0.5
STOP_DEADLINE_S = 10
"""Longer than the API's drain; after it the nursery is cancelled, and what was not certified stays so."""


@dataclass(frozen=True, slots=True)
class Edges:
    """What the tasks of a running node share."""

    opened: OpenHome
    validator: Validator
    faults: LinkFaults
    transport: Transport
    pump: Pump
    server: RpcServer
    stop: trio.Event
    drained: trio.Event
    asked: trio.Event
    """Somebody wants the node to end: a signal, the control socket."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a node keeps when its replica is opened anew: its port, the addresses of others, the faults in force."""

    p2p_port: int
    addresses: tuple[PlacedSeed, ...]
    faults: LinkFaults


def start_node(home: Path, environment: Mapping[str, str], prompt: Callable[[str], str] | None) -> None:
    """Run the node in ``home`` until it is told to stop; raises ``LocalError`` with one clear line."""
    check_verification_rule()
    set_allocator()
    with ExitStack() as stack:
        opened = open_home(home, environment, prompt)
        stack.callback(opened.close)
        log = opened.config.log
        configure_logging(log.level, log.format, home / log.file if log.file else None)
        listener = RpcListener(opened.config.rpc.host, opened.config.rpc.port)
        stack.callback(listener.close)
        stack.callback(remove_process_file, home)
        carried = _open_and_run(opened, listener, None)
        while carried is not None:
            listener = RpcListener(opened.config.rpc.host, listener.port)
            stack.callback(listener.close)
            carried = _open_and_run(opened, listener, carried)


def _open_and_run(opened: OpenHome, listener: RpcListener, carried: Carried | None) -> Carried | None:
    """Run until the node is told to stop, or until the replica is to be opened anew: then return what to go on
    with."""
    validator = build_validator(opened)
    settle_collector()
    return trio.run(_run, opened, validator, listener, carried)


async def _run(
    opened: OpenHome, validator: Validator, listener: RpcListener, carried: Carried | None
) -> Carried | None:
    log = member_logger(validator.member.name, opened.config.committee)
    edges = _build_edges(opened, validator, listener, carried)
    try:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(edges.transport.run)
            await nursery.start(_serve_api, edges)
            await _start_control(nursery, edges)
            nursery.start_soon(_pump, edges)
            nursery.start_soon(_wait_signals, edges)
            nursery.start_soon(_tell_changes, edges)
            process = ProcessFile(validator.member.name, os.getpid(), port, listener.port, listener.url, wall_ms())
            write_process_file(opened.config.home, process)
            log.info("started", p2p_port=port, rpc=listener.url, height=validator.replica.statistics().height)
            await edges.stop.wait()
            log.info("stopping" if edges.asked.is_set() else "opening anew")
            edges.server.stop()
            with trio.move_on_after(STOP_DEADLINE_S):
                await edges.drained.wait()
            nursery.cancel_scope.cancel()
    except* LocalError as group:
        raise _first(group) from None
    if not edges.asked.is_set():
        return Carried(port, _list_addresses(edges), edges.faults)
    log.info("stopped")
    return None


async def _pump(edges: Edges) -> None:
    """The pump returns only when the replica is to be opened anew."""
    await edges.pump.run(Start())
    edges.stop.set()


def _list_addresses(edges: Edges) -> tuple[PlacedSeed, ...]:
    placed: list[PlacedSeed] = []
    for member in edges.validator.peers:
        address = edges.transport.address_of(member)
        if address is not None:
            host, _, port = address.rpartition(":")
            placed.append((member, host, int(port)))
    return tuple(placed)


def _first(group: BaseExceptionGroup[LocalError]) -> LocalError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LocalError)
    return error


def _build_edges(opened: OpenHome, validator: Validator, listener: RpcListener, carried: Carried | None) -> Edges:
    config = opened.config
    log = member_logger(validator.member.name, config.committee)
    rng = Random(secrets.token_bytes(32))
    faults = LinkFaults(rng) if carried is None else carried.faults
    metrics = Metrics(validator.member.name, config.committee)

    def send(outgoing: Outgoing) -> None:
        transport.send(outgoing.member, outgoing.lane, outgoing.kind, outgoing.body)

    def on_certified(block: BlockCertified) -> None:
        application.hub.publish(block)
        service.note_certified(block)
        metrics.observe_certification(max(0, wall_ms() - block.header.timestamp_ms))

    def on_alarm(sentence: str) -> None:
        log.error("alarm", what=sentence)
        service.note_alarm(sentence)

    def on_connected(member: Member) -> None:
        log.info("connected", peer=member.name)
        pump.post_link(LinkUp(member))

    def on_disconnected(member: Member) -> None:
        log.info("disconnected", peer=member.name)
        pump.post_link(LinkDown(member))

    pump = Pump(
        validator.replica,
        opened.store,
        opened.vote_log,
        send=send,
        on_reply=lambda reply: service.on_reply(reply),
        on_certified=on_certified,
        on_alarm=on_alarm,
        on_sync=metrics.observe_sync,
        sync_in_thread=opened.probe.p50_us > SLOW_SYNC_US,
    )
    transport = Transport(
        _build_transport_config(opened, validator, carried),
        opened.seed,
        validator.peers,
        validator.peers,
        on_frame=pump.post_frame,
        on_connected=on_connected,
        on_disconnected=on_disconnected,
        clock=monotonic_ms,
        rng=rng,
        faults=faults,
    )
    for seed in validator.seeds if carried is None else carried.addresses:
        transport.set_address(*seed)
    service = ReplicaService(opened, validator, pump, transport)
    application = RpcApplication(service, metrics.registry)
    _add_sources(metrics, opened, validator, pump, transport)
    return Edges(
        opened,
        validator,
        faults,
        transport,
        pump,
        RpcServer(application, listener),
        stop=trio.Event(),
        drained=trio.Event(),
        asked=trio.Event(),
    )


def _build_transport_config(opened: OpenHome, validator: Validator, carried: Carried | None) -> TransportConfig:
    p2p = opened.config.p2p
    return TransportConfig(
        chain=opened.chain,
        incarnation=validator.committee.incarnation,
        shard=validator.committee.shard,
        index=validator.member.index,
        listen_host=p2p.host,
        listen_port=p2p.port if carried is None else carried.p2p_port,
        advertise_host=p2p.advertise,
        address_sequence=wall_ms(),
    )


def _add_sources(
    metrics: Metrics, opened: OpenHome, validator: Validator, pump: Pump, transport: Transport
) -> None:
    metrics.add_source("replica", validator.replica.statistics)
    metrics.add_source("pump", pump.statistics)
    metrics.add_source("transport", transport.statistics)
    metrics.add_source("votes", opened.vote_log.statistics)
    metrics.add_source("chain", opened.store.statistics)


async def _serve_api(edges: Edges, *, task_status: TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    await edges.server.serve(task_status=task_status)
    edges.drained.set()


async def _tell_changes(edges: Edges) -> None:
    """Log what an operator wants to know of the replica: new views, and catching up."""
    log = member_logger(edges.validator.member.name, edges.opened.config.committee)
    before = edges.validator.replica.statistics()
    while True:
        await trio.sleep(CHANGES_PERIOD_S)
        now = edges.validator.replica.statistics()
        if now.view != before.view:
            log.warning("new view", view=now.view, primary=now.primary, height=now.height)
        if now.catch_up.is_active != before.catch_up.is_active:
            what = "catching up" if now.catch_up.is_active else "caught up"
            log.info(what, height=now.height, target=now.catch_up.target)
        joining = describe_joining(now.snapshot)
        if joining is not None and (now.snapshot.phase, now.snapshot.height) != (
            before.snapshot.phase,
            before.snapshot.height,
        ):
            log.info("joining by snapshot", what=joining, height=now.height, target=now.catch_up.target)
        if now.snapshot.refused != before.snapshot.refused:
            log.warning("refused a part of a snapshot", count=now.snapshot.refused)
        if now.snapshot.offered > before.snapshot.offered:
            log.info("snapshot", height=now.snapshot.offered)
        if now.evidence != before.evidence:
            log.warning("evidence of misbehaviour kept", count=now.evidence)
        before = now


async def _wait_signals(edges: Edges) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for _ in received:
            if edges.asked.is_set():
                os._exit(1)
            edges.asked.set()
            edges.stop.set()


# --- the control socket of devnets -------------------------------------------------------------------------


async def _start_control(nursery: trio.Nursery, edges: Edges) -> None:
    path = edges.opened.config.devnet.control_socket
    if not path:
        return
    by_name = {member.name: member for member in edges.validator.peers}

    def on_addresses(request: Mapping[str, Any]) -> Mapping[str, Any]:
        known = [(by_name[name], address) for name, address in request["book"].items() if name in by_name]
        for member, (host, port) in known:
            edges.transport.set_address(member, str(host), int(port))
        return {"known": len(known)}

    def on_faults(request: Mapping[str, Any]) -> Mapping[str, Any]:
        now = monotonic_ms()
        edges.faults.apply([_read_rule(rule, now) for rule in request["rules"]])
        return {}

    def on_stop(_: Mapping[str, Any]) -> Mapping[str, Any]:
        edges.asked.set()
        edges.stop.set()
        return {}

    handlers = {"addresses": on_addresses, "faults": on_faults, "stop": on_stop, "ping": lambda _: {}}

    async def serve(*, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await serve_control(edges.opened.config.home / path, handlers, task_status=task_status)

    await nursery.start(serve)


def _read_rule(rule: Mapping[str, Any], now_ms: int) -> FaultRule:
    """A rule as the supervisor writes it; ``ValueError``, ``KeyError`` or ``TypeError`` where it is none."""
    destinations = rule.get("destinations")
    return FaultRule(
        identifier=str(rule["identifier"]),
        expires_ms=now_ms + int(rule["lease_ms"]),
        destinations=None if destinations is None else frozenset((int(s), int(i)) for s, i in destinations),
        cut=bool(rule.get("cut", False)),
        drop_ppm=int(rule.get("drop_ppm", 0)),
        duplicate_ppm=int(rule.get("duplicate_ppm", 0)),
        delay_ms=int(rule.get("delay_ms", 0)),
        jitter_ms=int(rule.get("jitter_ms", 0)),
        bandwidth_bytes_per_s=int(rule.get("bandwidth_bytes_per_s", 0)),
    )

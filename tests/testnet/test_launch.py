"""Which signals end a network that runs in the foreground."""

from __future__ import annotations

import os
import signal

import trio
import trio.testing

from testnet.launch import call_on_signals
from tests.testnet.network_setup import DEADLINE_S


async def test_a_signal_that_was_ignored_when_we_started_stays_ignored() -> None:
    told = trio.Event()
    calls: list[None] = []

    def act() -> None:
        calls.append(None)
        told.set()

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(call_on_signals, act)
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            with trio.fail_after(DEADLINE_S):
                await told.wait()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(calls) == 1

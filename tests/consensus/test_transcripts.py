"""Golden transcripts: scenarios in ``tests/scenarios`` that a person has read, compared line for line."""

from __future__ import annotations

from consensus.pbft.messages import Commit
from tests.consensus.cluster import Cluster
from tests.consensus.transcript import Transcript


def _refuse_commits_of_view_0(sender, receiver, message) -> bool:
    return not isinstance(message, Commit) or message.view > 0


def _pass_everything(sender, receiver, message) -> bool:
    return True


def _commits_reach_m0_only(sender, receiver, message) -> bool:
    return receiver.name == "m0" or not isinstance(message, Commit)


def _start() -> Cluster:
    """Four members that have greeted each other."""
    cluster = Cluster(4)
    cluster.run(10)
    return cluster


def test_normal_case_reads_as_stored() -> None:
    cluster = _start()
    transcript = Transcript(cluster)
    transcript.note("Two transactions arrive everywhere; m0 leads view 0.")
    cluster.submit(2)
    assert cluster.run_until(cluster.is_done, 1_000)
    transcript.note("Everything is certified: all timers go off, and nothing more happens.")
    cluster.run(5_000)
    transcript.compare("normal_case")


def test_view_change_carries_a_prepared_slot() -> None:
    cluster = _start()
    transcript = Transcript(cluster)
    transcript.note("Commits of view 0 get lost, so slot 1 is prepared everywhere and decided nowhere.")
    cluster.filter = _refuse_commits_of_view_0
    cluster.submit(2)
    cluster.run(50)
    transcript.note("The leader dies. Its successor carries slot 1 over.")
    cluster.hosts[0].crash()
    assert cluster.run_until(cluster.is_done, 10_000)
    assert {host.engine.statistics().view for host in cluster.hosts[1:] if host.engine} == {1}
    transcript.compare("view_change_carries_a_prepared_slot")


def test_restart_between_persisting_and_sending() -> None:
    cluster = _start()
    cluster.hosts[3].crash()
    transcript = Transcript(cluster)
    transcript.note("m3 is down. m1 dies when its prepare is in its log and before it leaves.")
    cluster.hosts[1].die_after_persist = True
    cluster.submit(2)
    cluster.run(50)
    assert cluster.hosts[1].engine is None and not cluster.hosts[0].decided
    transcript.note("m1 returns, sends the logged vote, and the three decide.")
    cluster.hosts[1].start()
    assert cluster.run_until(cluster.is_done, 10_000)
    transcript.compare("restart_between_persisting_and_sending")


def test_late_commit_is_sent_again() -> None:
    cluster = _start()
    transcript = Transcript(cluster)
    transcript.note("Commits reach m0 only, which decides alone; one attestation certifies nothing.")
    cluster.filter = _commits_reach_m0_only
    cluster.submit(2)
    cluster.run(50)
    assert cluster.hosts[0].decided and not cluster.hosts[1].decided
    transcript.note("The network is whole again. Statuses bring out the commit certificate.")
    cluster.filter = _pass_everything
    assert cluster.run_until(cluster.is_done, 10_000)
    transcript.compare("late_commit_is_sent_again")

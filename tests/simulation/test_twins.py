"""Twins: scenario files, drawing, playing and shrinking, and the scenarios that every engine stands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consensus import registry
from consensus.engine import load_engine_factory
from primitives.errors import LocalError
from testnet.cli import run
from testnet.simulator.twins import run_scenario
from testnet.simulator.twins_campaign import run_campaign, shrink_scenario
from testnet.simulator.twins_scenarios import (
    MAX_ROUNDS,
    Round,
    Scenario,
    Setting,
    draw_scenarios,
    enumerate_partitions,
    parse_scenarios,
    read_scenarios,
    write_scenarios,
)

ENGINES = registry.list_registered(registry.ENGINES)
SEED = 2_004
PER_BATCH = 25
ROUNDS = 7
FORK = Scenario(Setting(4, 2), (Round(0, ((0, 2, 5), (1, 3, 4))),) * 5)
"""Two members of four with twins: each half has a quorum of keys."""


def encode(**changes: Any) -> bytes:
    scenario = {"round_leaders": {"1": [0, 4]}, "round_partitions": {"1": [[0, 1, 2], [3, 4]]}}
    document = {"num_of_nodes": 4, "num_of_twins": 1, "scenarios": [scenario]}
    scenario.update({key: value for key, value in changes.items() if key.startswith("round_")})
    document.update({key: value for key, value in changes.items() if not key.startswith("round_")})
    return json.dumps(document).encode()


# --- files -------------------------------------------------------------------------------------------------


def test_a_file_says_who_leads_and_who_hears_whom() -> None:
    data = encode(round_leaders={"1": [0, 4], "3": [2]}, round_partitions={"1": [[2, 1, 0], [4, 3]], "2": [[1, 3]]})
    (scenario,) = parse_scenarios(data, "a file")
    assert scenario.rounds == (Round(0, ((0, 1, 2), (3, 4))), Round(None, ((1, 3),)), Round(2, None))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "truncated"),
        (b"[" * 100_000, "a file: "),
        (b'{"num_of_nodes": 4, "num_of_twins": 1}', "missing required field `scenarios`"),
        (b"\xff", "a file: "),
        (encode(num_of_nodes="4"), r"Expected `int`, got `str` - at `\$.num_of_nodes`"),
        (encode(num_of_nodes=4.5), "num_of_nodes"),
        (encode(num_of_nodes=10**30), "a file: "),
        (encode(num_of_nodes=33), "num_of_nodes must lie between 1 and 32, not 33"),
        (encode(round_leaders={"1": [0]}, round_seed=1), "round_seed"),
        (encode(num_of_twins=5), "num_of_twins must lie between 0 and num_of_nodes, not 5"),
        (encode(num_of_twins=-1), "num_of_twins"),
        (encode(scenarios=[]), "0 scenarios"),
        (encode(scenarios=[{}]), "round_leaders"),
        (encode(surprise=1), "surprise"),
        (encode(round_leaders={}, round_partitions={}), "scenario 0: it scripts no round"),
        (encode(round_leaders={"0": [0]}), "scenario 0: '0' is no round"),
        (encode(round_leaders={"": [0]}), "'' is no round"),
        (encode(round_leaders={"01": [0]}), "'01' is no round"),
        (encode(round_leaders={"-1": [0]}), "is no round"),
        (encode(round_leaders={"\u0661": [0]}), "is no round"),
        (encode(round_leaders={"9" * 10_000: [0]}), "is no round"),
        (encode(round_leaders={str(MAX_ROUNDS + 1): [0]}), "rounds are numbered 1 to 1000"),
        (encode(round_leaders={"1": []}), "round 1: 0 members lead"),
        (encode(round_leaders={"1": [0, 1]}), "round 1: 2 members lead; name one"),
        (encode(round_leaders={"1": [5]}), "round 1: leader: there is no node 5; they are numbered 0 to 4"),
        (encode(round_leaders={"1": [-1]}), "there is no node -1"),
        (encode(round_leaders={"1": [[0]]}), "Expected `int`, got `array`"),
        (encode(round_partitions={"1": [[0, 1], [1, 2]]}), "round 1: node 1 stands in the partition twice"),
        (encode(round_partitions={"1": [[0, 0]]}), "node 0 stands in the partition twice"),
        (encode(round_partitions={"2": [[0, 9]]}), "round 2: partition: there is no node 9"),
        (encode(round_partitions={"1": [0, 1]}), "Expected `array`, got `int`"),
        (encode(round_partitions=[]), "Expected `object`, got `array`"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(data: bytes, complaint: str) -> None:
    with pytest.raises(LocalError, match=complaint):
        parse_scenarios(data, "a file")


def test_scenarios_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    drawn = draw_scenarios(Setting(5, 1), ROUNDS, 20, SEED)
    drawn.append(replace(drawn[0], seed=SEED))
    write_scenarios(tmp_path / "drawn.json", drawn)
    assert read_scenarios(tmp_path / "drawn.json") == drawn
    with pytest.raises(LocalError, match="cannot read"):
        read_scenarios(tmp_path / "absent.json")


# --- drawing -----------------------------------------------------------------------------------------------


def test_partitions_are_counted_by_stirling_numbers() -> None:
    for total, max_sets, count in ((4, 2, 8), (5, 2, 16), (5, 3, 41), (6, 3, 122)):
        found = list(enumerate_partitions(total, max_sets))
        assert len(found) == len(set(found)) == count
        assert all(sorted(node for group in sets for node in group) == list(range(total)) for sets in found)


def test_a_seed_draws_the_same_different_scenarios_again() -> None:
    setting = Setting(4, 1)
    drawn = draw_scenarios(setting, ROUNDS, 300, SEED)
    assert drawn == draw_scenarios(setting, ROUNDS, 300, SEED) != draw_scenarios(setting, ROUNDS, 300, SEED + 1)
    assert len(set(drawn)) == 300
    assert {len(scenario.rounds) for scenario in drawn} == {ROUNDS}
    rounds = [entry for scenario in drawn for entry in scenario.rounds]
    assert {entry.leader for entry in rounds} == set(range(4))
    partitions = {entry.sets for entry in rounds}
    assert len(partitions) == 41, "some partition of five nodes into at most three sets never came"
    deciding = sum(entry.sets is not None and setting.has_quorum(entry.sets) for entry in rounds)
    assert len(rounds) // 2 < deciding < len(rounds)


def test_where_there_are_few_scenarios_each_is_drawn_once() -> None:
    drawn = draw_scenarios(Setting(1, 0), 1, 50, SEED)
    assert [scenario.rounds for scenario in drawn] == [(Round(0, ((0,),)),)]
    assert len(draw_scenarios(Setting(2, 0), 1, 50, SEED)) == 4


# --- playing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", range(4))
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_stands_drawn_scenarios(engine: str, batch: int) -> None:
    drawn = draw_scenarios(Setting(4, 1), ROUNDS, 4 * PER_BATCH, SEED)[batch * PER_BATCH :][:PER_BATCH]
    slots = 0
    for outcome in run_campaign(engine, drawn, jobs=1):
        assert outcome.is_ok, "\n".join([*outcome.scenario.describe(), *map(str, outcome.complaints)])
        assert outcome.rounds > ROUNDS, "a round of the script was not played"
        slots += outcome.certified
    assert slots > 3 * PER_BATCH, "the partitions let nothing be decided"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("setting", [Setting(5, 1), Setting(7, 2)], ids=["five", "seven"])
def test_an_engine_stands_scenarios_of_other_committees(engine: str, setting: Setting) -> None:
    for outcome in run_campaign(engine, draw_scenarios(setting, ROUNDS, 5, SEED), jobs=1):
        assert outcome.is_ok, "\n".join([*outcome.scenario.describe(), *map(str, outcome.complaints)])


@pytest.mark.parametrize("engine", ENGINES)
def test_more_than_f_twins_fork_and_are_reported(engine: str) -> None:
    outcome = run_scenario(FORK, load_engine_factory(engine))
    assert [complaint.checker for complaint in outcome.complaints] == ["agreement"]
    assert run_scenario(FORK, load_engine_factory(engine)) == outcome


def test_several_processes_find_what_one_finds() -> None:
    drawn = draw_scenarios(Setting(4, 2), ROUNDS, 36, SEED)
    alone = [outcome.complaints for outcome in run_campaign("pbft", drawn, jobs=1)]
    assert any(alone)
    assert [outcome.complaints for outcome in run_campaign("pbft", drawn, jobs=2)] == alone


def test_a_failing_scenario_shrinks_to_the_round_that_matters() -> None:
    factory = load_engine_factory("pbft")
    outcomes = run_campaign("pbft", draw_scenarios(Setting(4, 2), ROUNDS, 50, SEED), jobs=1)
    failure = next(outcome for outcome in outcomes if not outcome.is_ok)
    shrunk = shrink_scenario(failure, factory)
    assert len(shrunk.scenario.rounds) < len(failure.scenario.rounds)
    assert len(shrunk.scenario.rounds) <= 3
    assert run_scenario(shrunk.scenario, factory) == shrunk


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_tells_writes_and_replays_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = ["--twins", "2", "--scenarios", "50", "--seed", str(SEED), "--shrink", "--out", str(tmp_path)]
    assert run(["simulate", "twins", *drawn, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["engine"], told["scenarios"], told["num_of_twins"]) == ("pbft", 50, 2)
    assert told["failures"] == len(told["failed"]) > 0
    first = told["failed"][0]
    replay = ["--file", first["written"], "--trace", "--out", str(tmp_path / "again")]
    assert run(["simulate", "twins", *replay]) == 1
    printed = capsys.readouterr().out
    assert first["violations"][0] in printed
    assert "VIOLATION" in printed


def test_the_command_succeeds_where_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "twins", "--scenarios", "3", "--rounds", "3"]) == 0
    assert "3 scenarios, 0 violated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--validators", "0"], "num_of_nodes"),
        (["--twins", "9"], "num_of_twins"),
        (["--rounds", "0"], "rounds must lie between"),
        (["--scenarios", "0"], "scenarios must lie between"),
        (["--jobs", "0"], "--jobs"),
        (["--engine", "paxos"], "no consensus engine 'paxos'"),
        (["--file", "absent.json"], "cannot read absent.json"),
    ],
)
def test_bad_options_are_one_clear_line(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "twins", *options]) == 1
    assert complaint in capsys.readouterr().err

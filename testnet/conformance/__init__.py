"""The conformance suite: what every consensus engine must do, whoever wrote it.

``suite.run_conformance(factory)`` runs all rules against an ``EngineFactory``, ``rialto engine check NAME`` runs
them against an installed one, and an engine's own tests may run them one by one (``suite.RULES``). A rule is a
function that brings up a ``Committee`` of engines on virtual time and raises ``RuleBroken``.

| file         | holds                                                                           |
|--------------|---------------------------------------------------------------------------------|
| `promises`   | what members signed: the judge of votes that contradict each other               |
| `member`     | the least of a replica around one engine: log, payloads, certificates, crashes   |
| `world`      | the committee: virtual time, a seeded network, and what must hold at every step  |
| `ordinary`   | rules of a good day: order, rotation, silence when idle, limits                  |
| `outages`    | dead, late and cut off members, storms                                           |
| `crashes`    | a crash at every record that an engine writes; determinism                       |
| `adversary`  | members that lie, and bytes that nobody sent                                     |
| `suite`      | all rules, run and reported                                                      |

What does not live here: whole replicas under faults (``testnet.simulator``), any knowledge of one protocol.
"""

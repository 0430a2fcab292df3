"""Mutants: engines with one rule broken each, and the campaign that must find them.

``planting`` breaks engines, ``hunts`` are the kinds of campaign, ``pbft``, ``tendermint`` and ``hotstuff`` the
tables of mutants with the seeds that kill them. ``python -m tests.simulation.mutants`` searches for them anew.
"""

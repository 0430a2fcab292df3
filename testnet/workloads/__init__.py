"""Loads for a running network: seeded agents, recorded market data, lists of transfers."""

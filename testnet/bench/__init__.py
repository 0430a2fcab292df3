"""Benches: each brings up a network of its own, loads it, and prints what it took."""

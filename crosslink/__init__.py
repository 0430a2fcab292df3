"""Crosslinks: shard headers, channels and transfers between shards, the beacon, its followers."""

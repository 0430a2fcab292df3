"""Transactions and the derivatives state machine of one shard."""

"""Consensus: engines that order opaque payload bytes, and what every engine shares.

Engines never see transactions, headers or state; nothing here does IO or reads a clock.
"""

"""Tendermint: rounds with rotating proposers, locks, and unlocking by proof of lock.

E. Buchman, J. Kwon, Z. Milosevic, "The latest gossip on BFT consensus" (arXiv 1807.04938), Algorithm 1, whose line
numbers the rules cite. ``core`` is that algorithm for one height, pure and step by step; ``engine`` is where to
start reading about everything around it: signatures, the vote log, payloads, members that are behind.
"""

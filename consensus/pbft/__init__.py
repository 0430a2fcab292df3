"""PBFT with signatures and a window of slots in flight: the default engine.

M. Castro, B. Liskov, "Practical Byzantine Fault Tolerance" (OSDI 1999) and Castro's thesis (2001), with
signatures in place of MAC vectors and certificates of attestations in place of checkpoint messages. Start
reading in ``engine``.
"""

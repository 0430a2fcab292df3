"""Checks of a running network through its client API.

Each check is a plain object over what was read, so a test can hand it fabricated data; ``sources`` and ``run`` do
the reading. They trust the genesis and nothing that a member says without proof.
"""

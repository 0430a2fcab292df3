"""The base layer: hashing, signing, the canonical codec, Merkle trees, quantities, identifiers, errors.

Nothing here imports any other package of the project.
"""

"""The deterministic simulator: production replicas on virtual time, with faults drawn from a seed.

``simulation`` runs one seed; ``networks`` says what is in it, ``swarm`` which faults; ``world`` wires hosts, links,
disks and checkers. Replicas, engines, applications, beacon and followers are the production ones; nothing that
decides lives here.
"""

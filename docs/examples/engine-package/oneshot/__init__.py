"""An example engine: one slot at a time, a new leader for every slot and view, two rounds of votes.

`messages` says what is sent and signed, `engine` is the protocol, `factory` makes and restores it, `choices` adds a
leader schedule and a pacemaker. docs/researchers.md of Rialto walks through it.
"""

"""The node: one validator's process. Protocol decisions live in synchronous objects; IO is at the edge."""

from node.libp2p_parts import place_packages

place_packages()

"""The node: one validator's process. Protocol decisions live in synchronous objects; IO is at the edge."""

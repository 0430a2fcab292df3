"""The HTTP and WebSocket interface of a node: everything that clients see, and nothing that decides."""

"""The command line of one node and of its clients."""

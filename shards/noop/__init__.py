"""The no-op application: opaque records that are counted and never looked at, to measure engines alone."""

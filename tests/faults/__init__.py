"""Faults of storage injected at every call of a run; `make faults` runs the whole matrix."""

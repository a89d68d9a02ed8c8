"""The first minutes on a machine with an NVIDIA GPU: checks in order, one JSON, a page (`make first-gpu`)."""

"""Weights and runtimes: which models exist, where their files are, how they run."""

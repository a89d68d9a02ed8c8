"""Runs in which a random process is killed at a random moment, and the same command once more."""

"""Shots, speech and sampled frames as files that other programs open."""

"""Shots as files that other programs open."""

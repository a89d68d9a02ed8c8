"""How near the rows come to those of reference implementations on the same pictures and sound.

A module for each family has a function `measure` from the folders of media and of weights to rows of the
table in docs/accuracy.md. What is absent raises `SkippedError`, and the table says so.
"""

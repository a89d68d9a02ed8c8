"""Mutants of real files: what a run makes of them, against what plain PyAV decodes; see `make fuzz`."""

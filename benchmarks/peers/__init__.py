"""The least that a task can cost: what Framemill is measured against where no program does the same."""

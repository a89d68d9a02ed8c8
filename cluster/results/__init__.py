"""A result folder: where it lies, who may write, what is committed, and how it is read."""

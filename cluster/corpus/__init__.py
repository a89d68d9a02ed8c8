"""Answers about all files at once, from their tables: people, duplicates, search, recall."""

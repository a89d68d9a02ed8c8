"""Pages that show a result folder: one static file, whose modules a live page can use too."""

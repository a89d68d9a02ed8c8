"""Pages for people, and what writes the lists in them that come from the code."""

"""Where work is placed: one folder an engine, and what all of them share."""

"""Hours of files that come and go, runs that are killed and taken over, and a viewer that stays open."""

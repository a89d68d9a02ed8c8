"""Clips: stretches of files are planned, filtered, cut, freed of doubles and written as a training set."""

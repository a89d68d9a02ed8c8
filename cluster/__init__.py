"""The driver: what a person calls, what is to be done, where it runs, where rows land."""

"""Pictures as arrays: what model inputs, measures and masks are made from."""

"""Small files with the right values in `../shared/cases`: described, run and checked."""

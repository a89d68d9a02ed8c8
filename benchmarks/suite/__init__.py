"""The benchmarks, by theme; each module lists its own in BENCHMARKS."""

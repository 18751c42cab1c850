"""Download the benchmarks' files, and check that they are complete."""

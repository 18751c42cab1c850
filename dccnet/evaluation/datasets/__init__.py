"""Getting the benchmarks' files and telling whether they are all there."""

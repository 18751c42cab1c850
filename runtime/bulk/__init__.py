"""Match lists of millions of pairs: memory is bounded, bad pairs are set aside, stopped runs continue."""

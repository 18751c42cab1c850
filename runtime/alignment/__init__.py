"""One picture brought into the shape of another: a smooth map without folds, its mask, and morphs."""

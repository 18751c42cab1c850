"""Points, masks and boxes of a reference in every frame, with a decision whether they are seen there."""

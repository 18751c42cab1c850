"""The whole road on photographs that pip brings."""

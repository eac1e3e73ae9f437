"""Published files, verified, in data/raw."""

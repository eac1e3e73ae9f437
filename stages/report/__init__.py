"""The comparison as people read it, in report."""

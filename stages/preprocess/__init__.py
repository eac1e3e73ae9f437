"""Decoded, checked and split arrays in data/processed."""

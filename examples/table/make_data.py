"""Writes scikit-learn's wines as a CSV file, with a column of text and a few values missing."""

import csv
from pathlib import Path

from sklearn.datasets import load_wine

wine = load_wine()
path = Path("data/custom/wine.csv")
path.parent.mkdir(parents=True, exist_ok=True)
with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow([*wine.feature_names, "strength", "grower"])
    for place, (row, target) in enumerate(zip(wine.data.tolist(), wine.target, strict=True)):
        strength = "strong" if row[0] > 13 else "light"
        values = ["" if place % 20 == 0 and column == 1 else v for column, v in enumerate(row)]
        writer.writerow([*values, strength, wine.target_names[target]])

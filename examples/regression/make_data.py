"""Writes scikit-learn's diabetes patients, with the progress of their illness, as a CSV file."""

import csv
from pathlib import Path

from sklearn.datasets import load_diabetes

patients = load_diabetes(scaled=False)
path = Path("data/custom/diabetes.csv")
path.parent.mkdir(parents=True, exist_ok=True)
with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow([*patients.feature_names, "progress"])
    writer.writerows(
        [*row, target]
        for row, target in zip(patients.data.tolist(), patients.target.tolist(), strict=True)
    )

"""The 297 complete rows of the UCI heart disease data as 100 CSV files, a model of them, and what scikit-learn itself
makes of every row. Runs in the venv of the inference server: `heart.py WHEEL OUT`.

Below OUT: `in/part-NNN.csv`, `model/model.joblib`, and `expected.json`: the files in order with a probability for each row.
"""

import csv
import json
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "src" / "dev" / "models"))
import train  # noqa: E402 - that is where it is

FILES = 100


def table(rows):
    """Rows of cells as the pipeline takes them: numbers as numbers, categories as texts, whatever they came as."""
    kinds = [float if known is None else str for known in train.COLUMNS.values()]
    return np.array([[kind(cell) for kind, cell in zip(kinds, row, strict=True)] for row in rows], dtype=object)


def fit(rows, targets):
    known = list(train.COLUMNS.values())
    words = [at for at, categories in enumerate(known) if categories is not None]
    numbers = [at for at, categories in enumerate(known) if categories is None]
    features = make_column_transformer(
        (OneHotEncoder(categories=[known[at] for at in words]), words), (StandardScaler(), numbers)
    )
    # A forest adds up the same leaves for a row whatever rows it comes with, so equal means equal to the last digit.
    # Leaves of several rows make fractions, so that there are digits to lose.
    forest = RandomForestClassifier(n_estimators=20, min_samples_leaf=5, random_state=train.SEED)
    return make_pipeline(features, forest).fit(table(rows), targets)


def main(wheel, out):
    rows = list(train.complete_rows(train.read_table(wheel)))
    cells, targets = [row for _, row, _ in rows], [target for _, _, target in rows]
    model = fit(cells, targets)
    (out / "in").mkdir(parents=True, exist_ok=True)
    (out / "model").mkdir(exist_ok=True)
    joblib.dump(model, out / "model" / "model.joblib")
    answers = model.predict_proba(table(cells))[:, 1].tolist()
    expected = []
    for number in range(FILES):
        begin, end = (len(rows) * step // FILES for step in (number, number + 1))
        name = f"part-{number:03}.csv"
        with open(out / "in" / name, "w", newline="", encoding="ascii") as file:
            csv.writer(file).writerows([list(train.COLUMNS), *cells[begin:end]])
        expected.append([name, answers[begin:end]])
    (out / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

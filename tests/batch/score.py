"""Entry script of the inference server: the probability of heart disease for each row of `input_data`."""

import json
import os

import joblib
import numpy as np

model = None


def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))


def run(raw):
    told = json.loads(raw)["input_data"]
    if len(told["index"]) != len(told["data"]):
        raise ValueError("there is no index for each row")
    # A category such as `0` comes from a CSV file as a number. The encoder knows which columns are categories.
    words = set(model[0].transformers_[0][2])
    kinds = [str if at in words else float for at in range(len(told["columns"]))]
    rows = [[kind(cell) for kind, cell in zip(kinds, row, strict=True)] for row in told["data"]]
    return {"predictions": model.predict_proba(np.array(rows, dtype=object))[:, 1].tolist()}

"""Entry script of the two Azure ML inference servers: answers with the name of the model and its predictions."""

import json
import os

import joblib

model = None


def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))


def run(raw):
    # Both shapes of the documentation: a table with its columns, or only the rows.
    rows = json.loads(raw)["input_data"]
    if isinstance(rows, dict):
        rows = rows["data"]
    return {"model": os.environ["MODEL_NAME"], "predictions": model.predict(rows).tolist()}

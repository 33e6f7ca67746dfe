"""An MLflow model of a few lines, and MLflow's own server for it. `make DIR` saves the model, `serve DIR PORT` becomes
`mlflow models serve`."""

import os
import sys
from pathlib import Path

# The server is started by the name of a program that is beside this Python.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# Nothing is sent to anybody.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

MODEL = '''
import os
import mlflow

class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return {"doubled": (model_input["a"] * 2).tolist(), "pid": os.getpid()}

mlflow.models.set_model(Doubled())
'''

what, directory, *port = sys.argv[1:]
os.environ.update(QUIET, PATH=PATH)
if what == "make":
    import mlflow.pyfunc

    code = Path(directory) / "doubled.py"
    code.write_text(MODEL)
    mlflow.pyfunc.save_model(Path(directory) / "model", python_model=str(code), pip_requirements=[])
else:
    argv = ["mlflow", "models", "serve", "-m", str(Path(directory) / "model"), "--env-manager", "local"]
    os.execvp("mlflow", [*argv, "--host", "127.0.0.1", "--port", port[0]])

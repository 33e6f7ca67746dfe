"""`scoregate` as a person types it."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass

from children import die_with_parent

WITHIN = 120


@dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            return {"not JSON": self.out + self.err}


def run(w, who, *words):
    """Runs a command as one of the issuer's service principals, whose credential is in the environment."""
    facts, principal = w.facts, w.facts["principals"][who]
    with tempfile.TemporaryDirectory() as home:
        env = {
            "PATH": os.environ["PATH"], "HOME": home,
            "SCOREGATE_SERVER": facts["control_url"], "SCOREGATE_CA_FILE": facts["ca_file"],
            "AZURE_AUTHORITY_HOST": facts["authority_url"], "AZURE_TENANT_ID": facts["tenant_id"],
            "AZURE_CLIENT_ID": principal["client_id"], "AZURE_CLIENT_SECRET": principal["client_secret"],
        }
        argv = [facts["binary"], *map(str, words)]
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN, check=False,
            preexec_fn=die_with_parent,
        )
    return Done(done.returncode, done.stdout, done.stderr)

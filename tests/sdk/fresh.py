"""What has to run in a process of its own.

azure-ai-ml keeps the headers of `invoke` in a module, so that a pinned deployment stays pinned; and it reads from the
environment where it is aimed, and keeps that too. Each `run` here begins in a process where nobody has done either.
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import tempfile
import threading
import traceback

from azure.core.exceptions import HttpResponseError
from azure.identity import EnvironmentCredential

import clients

TIMEOUT = 180
PROCESSES = multiprocessing.get_context("forkserver")
# Importing takes seconds: the server that all fresh processes are forked from does it once, and does nothing else.
PROCESSES.set_forkserver_preload(
    ["azure.ai.ml", "azure.identity", "azure.mgmt.authorization", "azure.mgmt.machinelearningservices"]
)


def run(function, *arguments):
    """What the function returns in a process of its own, or its traceback as an exception."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=tell, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(TIMEOUT):
            raise RuntimeError(f"{function.__name__}: not done in {TIMEOUT} s")
        result, failure = ours.recv()
    finally:
        process.kill()
        process.join()
    if failure:
        raise RuntimeError(failure)
    return result


def tell(out, function, arguments):
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        out.send((function(*arguments), None))
    except Exception:  # the clients' own kinds do not all fit through a pipe
        out.send((None, traceback.format_exc()))


def end_with_parent():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def invoke(facts, who, calls):
    """Calls `online_endpoints.invoke` for each (endpoint, deployment or None, body); what it returned or raised."""
    clients.aim(facts)
    ml = clients.ml_client(facts, clients.credential(facts, who))
    results = []
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "request.json")
        for endpoint, deployment, body in calls:
            with open(file, "w", encoding="utf-8") as out:
                json.dump(body, out)
            try:
                text = ml.online_endpoints.invoke(endpoint, request_file=file, deployment_name=deployment)
                results.append({"answer": json.loads(text)})
            except HttpResponseError as error:
                code = error.error.code if error.error else None
                results.append({"raised": type(error).__name__, "status": error.status_code, "code": code})
            except Exception as error:  # the client's own kinds, told by name
                results.append({"raised": type(error).__name__, "text": str(error)})
    return results


def look(ml, facts):
    """What shows that a client reaches the workspace and its endpoints."""
    workspace = ml.workspaces.get(facts["workspace"])
    return [workspace.name, workspace.location, sorted(endpoint.name for endpoint in ml.online_endpoints.list())]


def aimed_by_cloud_metadata(facts):
    clients.trust(facts)
    metadata = {
        "azure_portal": "https://portal.azure.com",
        "resource_manager": facts["control_url"],
        "active_directory": facts["authority_url"],
        "aml_resource_id": "https://ml.azure.com",
        "storage_endpoint": "core.windows.net",
        "registry_discovery_endpoint": "https://127.0.0.1/",
    }
    cred = clients.credential(facts, "admin")
    return look(clients.ml_client(facts, cred, cloud="SelfHosted", cloud_metadata=metadata), facts)


def aimed_by_metadata_url(facts):
    clients.trust(facts)
    os.environ["ARM_CLOUD_METADATA_URL"] = facts["control_url"] + "/metadata/endpoints?api-version=2019-05-01"
    return look(clients.ml_client(facts, clients.credential(facts, "admin")), facts)


def signed_in_by_environment(facts):
    admin = facts["principals"]["admin"]
    clients.aim(facts)
    os.environ.update(
        AZURE_AUTHORITY_HOST=facts["authority_url"],
        AZURE_TENANT_ID=facts["tenant_id"],
        AZURE_CLIENT_ID=admin["client_id"],
        AZURE_CLIENT_SECRET=admin["client_secret"],
    )
    return look(clients.ml_client(facts, EnvironmentCredential(disable_instance_discovery=True)), facts)

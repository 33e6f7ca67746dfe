"""What OpenAI's client does with an endpoint; says as JSON what came of it. Arguments: the endpoint's address, a token."""

import json
import sys

from openai import AzureOpenAI, NotFoundError, OpenAI

endpoint, token = sys.argv[1:]
found = {}
clients = {
    "openai": OpenAI(base_url=f"{endpoint}/v1", api_key=token, max_retries=0),
    "azure": AzureOpenAI(azure_endpoint=endpoint, azure_ad_token=token, api_version="2024-10-21", max_retries=0),
}
for name, client in clients.items():
    chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
    found[name] = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    try:
        client.files.list()
        found[f"{name} files"] = "listed"
    except NotFoundError as error:
        found[f"{name} files"] = error.response.headers.get("ms-azureml-model-error-reason")
print(json.dumps(found), flush=True)

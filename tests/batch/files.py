"""Files in the three kinds of data stores, past the gateway: what jobs read is put there, what they wrote is fetched."""

import datetime
import hashlib
import hmac
from pathlib import Path

import requests
from azure.storage.blob import ContainerClient


class Directory:
    """The workspace's own store, as it is on the disk of the gateway."""

    def __init__(self, world):
        facts = world.facts
        names = (facts["subscription_id"], facts["resource_group"], facts["workspace"])
        self.root = Path(facts["home"], "datastores", "workspaceblobstore", *names)

    def put(self, path, data):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def get(self, path):
        return (self.root / path).read_bytes()


class Blobs:
    """A container, by Azure's own client."""

    def __init__(self, world):
        of = world.facts["stores"]["blob"]
        self.client = ContainerClient(of["service"], of["container"], credential=of["key"], api_version="2021-12-02")

    def put(self, path, data):
        self.client.upload_blob(path, data)

    def get(self, path):
        return self.client.download_blob(path).readall()

    def names(self, folder):
        """All that there is below a folder."""
        return sorted(blob.name for blob in self.client.list_blobs(name_starts_with=folder + "/"))


class Bucket:
    """A bucket, by requests with a signature ("Signature Version 4")."""

    REGION = "us-east-1"

    def __init__(self, world):
        self.of = world.facts["stores"]["s3"]
        self.session = requests.Session()

    def put(self, path, data):
        self.ask("PUT", path, data)

    def get(self, path):
        return self.ask("GET", path, b"")

    def ask(self, method, path, data):
        host = self.of["endpoint"].split("://")[1]
        path = f"/{self.of['bucket']}/{path}"
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(data).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        signed = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"{method}\n{path}\n\n{lines}\n{signed}\n{digest}"
        scope = f"{now[:8]}/{self.REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = ("AWS4" + self.of["secretKey"]).encode()
        for part in [*scope.split("/"), text]:
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.of['accessKey']}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
        )
        answer = self.session.request(method, self.of["endpoint"] + path, data=data, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.content

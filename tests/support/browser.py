"""A real JupyterLab on this machine, people who are logged in to it, and a browser without a window."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

expect.set_options(timeout=300_000)  # a machine may have a lot to do
ROOT = Path(__file__).resolve().parent.parent.parent
PEOPLE = """
import re
from jupyter_server.auth.identity import IdentityProvider, User

class People(IdentityProvider):
    "Knows people by their token, as a hub does."
    auth_enabled = True

    def _user(self, token):
        known = re.fullmatch('token-of-([a-z]+)', token)
        return User(username=known[1]) if known else None

    async def get_user_token(self, handler):
        return self._user(self.get_token(handler) or '')

c.ServerApp.identity_provider_class = People
"""


@dataclass(frozen=True)
class Server:
    "A JupyterLab that runs in a project."

    url: str  # with a slash at the end
    root: Path

    def get(self, path: str, *, who: str = '', data: bytes | None = None, **headers: str) -> tuple[int, str]:
        "Ask without a browser: the status, and the text."
        asked = urllib.request.Request(self.url + path, data, headers)
        if who:
            asked.add_header('Authorization', f'token token-of-{who}')
        opener = urllib.request.build_opener(_Stay)
        try:
            with opener.open(asked, timeout=300) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        "Redirections are answers."


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return int(one.getsockname()[1])


def until(what: str, happened: object, seconds: float = 300) -> None:
    "Wait for what another program does, not for a time."
    end = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        if time.monotonic() > end:
            pytest.fail(f'waited in vain until {what}')
        time.sleep(0.05)


@contextmanager
def jupyter(root: Path, *more: str, people: bool = True) -> Iterator[Server]:
    "JupyterLab in a project, with the extension as the wheel brings it."
    port = _free_port()
    place = root / f'.jupyter-{port}'
    config = place / 'jupyter_server_config.d'
    config.mkdir(parents=True)
    shutil.copy(ROOT / 'mlops_nb' / 'jupyter-config' / 'mlops_nb.json', config)
    shutil.copytree(ROOT / 'mlops_nb' / 'labextension', place / 'labextensions' / 'mlops-nb')
    (place / 'people.py').write_text(PEOPLE if people else '')
    ours = 'MLOPS_NB_', 'METAFLOW_', 'JUPYTER'
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment |= {'JUPYTER_CONFIG_PATH': str(place), 'JUPYTER_PATH': str(place), 'HOME': str(place)}
    command = [
        sys.executable, '-m', 'jupyterlab', '--allow-root', '--no-browser', '--ip=127.0.0.1',
        f'--port={port}', '--ServerApp.port_retries=0', f'--ServerApp.root_dir={root}',
        f'--config={place / "people.py"}', *more,
    ]  # fmt: skip
    with open(place / 'log', 'wb') as log:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    server = Server(f'http://127.0.0.1:{port}/', root)

    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail((place / 'log').read_text())
        try:
            return bool(server.get('api/status')[0])
        except OSError:
            return False

    try:
        until('JupyterLab answers', answers)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:  # it may ask a kernel that does not answer
            process.kill()
            process.wait()


@pytest.fixture(scope='session')
def chromium() -> Iterator[Browser]:
    "A browser."
    path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not path:
        pytest.skip('no browser here: apt-get install chromium')
    with sync_playwright() as program:
        browser = program.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield browser
        browser.close()


@dataclass
class Person:
    "Somebody who is logged in, and all that their browser complained about."

    name: str
    page: Page
    context: BrowserContext
    complaints: list[str]
    elsewhere: list[str]  # what was asked of other servers


@contextmanager
def person(browser: Browser, server: Server, name: str, **look: object) -> Iterator[Person]:
    "A browser of somebody's own, logged in."
    context = browser.new_context(**look)  # type: ignore[arg-type]
    context.set_default_timeout(300_000)
    page = context.new_page()
    one = Person(name, page, context, [], [])
    page.on('console', lambda said: one.complaints.append(said.text) if said.type == 'error' else None)
    page.on('pageerror', lambda error: one.complaints.append(str(error)))
    page.on('dialog', lambda dialog: (one.complaints.append(dialog.message), dialog.dismiss()))
    page.on(
        'request',
        lambda asked: (
            one.elsewhere.append(asked.url) if not asked.url.startswith((server.url, 'data:')) else None
        ),
    )
    page.goto(f'{server.url}mlops-nb/?token=token-of-{name}')
    yield one
    context.close()


def notebook_cells(path: Path) -> list[str]:
    "The sources of a notebook's cells."
    return [''.join(cell['source']) for cell in json.loads(path.read_text())['cells']]

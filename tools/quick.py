"""Run the tests that a change touches, nearest first, for two minutes.

A change is what differs from where this branch left `main`, the working tree included. It touches the modules
and library notebooks in it, what imports those, and so on. What only a command reaches, `make test` runs.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, SECONDS = 'mlops_nb', 120


def lines_of(*command: str) -> list[str]:
    "What git prints; nothing where it refuses."
    return subprocess.run(['git', *command], cwd=ROOT, capture_output=True, text=True).stdout.split()


def changed() -> set[Path]:
    "The files that differ from where this branch left main."
    (base,) = lines_of('merge-base', 'HEAD', 'main') or ['HEAD']
    names = lines_of('diff', '--name-only', base) + lines_of('ls-files', '--others', '--exclude-standard')
    return {ROOT / name for name in names}


def code_of(path: Path) -> str:
    "The code of a file, without what only a notebook understands."
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        return text
    cells = [''.join(one['source']) for one in json.loads(text)['cells'] if one['cell_type'] == 'code']
    return '\n'.join(cell for cell in cells if not re.search(r'^\s*[%!]', cell, re.MULTILINE))


def name_of(path: Path) -> str:
    "The module that a file is, or, of a notebook, that it becomes."
    if path.suffix == '.ipynb':
        told = re.search(r'^#\| default_exp (\S+)', code_of(path), re.MULTILINE)
        return f'{PACKAGE}.{told[1]}' if told else str(path)
    if path.is_relative_to(ROOT / PACKAGE):
        return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
    return path.stem


def imported(code: str, name: str) -> Iterator[str]:
    "What a module may import: modules, and names in modules, which may be modules."
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split('.')[: -node.level] if node.level else []
            base = '.'.join([*above, *filter(None, [node.module])])
            yield from (base, *(f'{base}.{alias.name}' for alias in node.names))


def nearest(start: set[Path]) -> list[Path]:
    "The tests that a change touches, nearest first."
    files = sorted((ROOT / 'nbs' / 'lib').rglob('*.ipynb'))
    files += [path for folder in (PACKAGE, 'tests') for path in sorted((ROOT / folder).rglob('*.py'))]
    names = {path: name_of(path) for path in files if path.name != '_modidx.py'}
    uses = {path: {*imported(code_of(path), name), name} for path, name in names.items()}
    found = dict.fromkeys(path for path in names if path in start)
    queue = list(found)
    for path in queue:  # which grows while it is read
        near = [other for other, used in uses.items() if names[path] in used and other not in found]
        found |= dict.fromkeys(near)
        queue += near
    return [path for path in found if path.suffix == '.ipynb' or path.name.startswith('test_')]


class Limit:
    "Ends a run of pytest when its time is up."

    def __init__(self) -> None:
        self.end, self.left = time.monotonic() + SECONDS, set[str]()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.left |= {item.nodeid for item in items}

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.left.discard(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if time.monotonic() > self.end:
            self.session.shouldstop = f'{SECONDS} seconds are over'

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session


if __name__ == '__main__':
    tests = [str(path.relative_to(ROOT)) for path in nearest(changed())]
    print(f'This change touches {len(tests)} files of tests:', *tests[:10], '...' if tests[10:] else '')
    if not tests:
        sys.exit()
    limit = Limit()
    code = pytest.main(['-q', '-m', 'not slow', *tests], plugins=[limit])
    if limit.left:
        print(f'{len(limit.left)} tests were not run: make test runs them')
    sys.exit(0 if limit.session.shouldstop and not limit.session.testsfailed else code)

"""What tests share: small real projects, and the commands that people type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = str(Path(sys.executable).parent / 'mlops-nb')
Run = Callable[..., 'subprocess.CompletedProcess[str]']

# tests that a script runs in the background ignore Ctrl-C, and so would the commands that they start
signal.signal(signal.SIGINT, signal.default_int_handler)


def cell(source: str, *tags: str) -> dict[str, object]:
    "A code cell."
    return {
        'cell_type': 'code',
        'metadata': {'tags': list(tags)},
        'source': source,
        'outputs': [],
        'execution_count': None,
        'id': f'c{abs(hash(source)) % 10**8:08}',
    }


def write_notebook(path: Path, *cells: dict[str, object]) -> Path:
    "A notebook of these cells."
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {'cells': list(cells), 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}
    path.write_text(json.dumps(content), encoding='utf-8')
    return path


SETTINGS = """
[user]
name = ada

[gates]
accuracy = roc_auc >= 0.6

[model late]
dataset = flights
label = late
gates = accuracy
features = nbs/features.ipynb
train = nbs/train.ipynb
validate = nbs/validate.ipynb
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    "A project with three small step notebooks."
    (tmp_path / 'settings.ini').write_text(SETTINGS)
    say = 'from mlops_nb import step\n'
    write_notebook(
        tmp_path / 'nbs' / 'features.ipynb',
        cell('month: int = 6  # the last month to learn from, 1 to 12', 'parameters'),
        cell(say + 'step.save(rows=list(range(month)))'),
    )
    write_notebook(
        tmp_path / 'nbs' / 'train.ipynb',
        cell('depth: int = 4  # levels of a tree, at least 1', 'parameters'),
        cell(say + 'rows = step.load("rows")\nprint("rows:", len(rows))'),
        cell('if depth < 1: raise ValueError(f"depth is {depth}")'),
        cell('step.save(model_size=len(rows) * depth)\nstep.log(roc_auc=0.7)'),
    )
    write_notebook(tmp_path / 'nbs' / 'validate.ipynb', cell(say + 'step.log(size=step.load("model_size"))'))
    return tmp_path


@pytest.fixture
def mlops() -> Run:
    "The command `mlops-nb`, in a folder."

    def run(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(('MLOPS_NB_', 'METAFLOW_'))}
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=folder,
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run

"""Small real projects, and the environment of the commands that people type."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).resolve().parent.parent.parent
Run = Callable[..., CompletedProcess[str]]


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


def small_project(folder: Path) -> Path:
    "Write a project with three small step notebooks."
    (folder / 'settings.ini').write_text(SETTINGS)
    say = 'from mlops_nb import step\n'
    write_notebook(
        folder / 'nbs' / 'features.ipynb',
        cell('month: int = 6  # the last month to learn from, 1 to 12', 'parameters'),
        cell(say + 'step.save(rows=list(range(month)))'),
    )
    write_notebook(
        folder / 'nbs' / 'train.ipynb',
        cell('depth: int = 4  # levels of a tree, at least 1', 'parameters'),
        cell(say + 'rows = step.load("rows")\nprint("rows:", len(rows))'),
        cell('if depth < 1: raise ValueError(f"depth is {depth}")'),
        cell('step.save(model_size=len(rows) * depth)\nstep.log(roc_auc=0.7)'),
    )
    write_notebook(folder / 'nbs' / 'validate.ipynb', cell(say + 'step.log(size=step.load("model_size"))'))
    return folder


def clean_environment(**more: str) -> dict[str, str]:
    "The environment without what a project or a run has put there."
    ours = 'MLOPS_NB_', 'METAFLOW_'
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more

"""Notebooks as steps of real Metaflow runs, started as people start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import COMMAND
from small import ROOT, Run, cell, small_project, write_notebook


def runs(mlops: Run, project: Path) -> list[dict]:
    "The project's runs as `mlops-nb runs list --json` prints them."
    return json.loads(mlops('runs', 'list', '--json', folder=project).stdout)


@pytest.fixture(scope='module')
def finished(mlops: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A project after one run of its flow, typed in a folder of it. Tests only look."
    project = small_project(tmp_path_factory.mktemp('finished'))
    done = mlops('flow', 'train', 'run', '--month', 3, '--depth', 2, folder=project / 'nbs')
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_a_flow_of_notebooks_runs_and_its_runs_show_parameters_and_metrics(
    finished: Path, mlops: Run
) -> None:
    (run,) = runs(mlops, finished)
    assert run['status'] == 'done' and run['user'] == 'ada'
    assert (run['params.month'], run['params.depth']) == (3, 2)
    assert (run['metrics.roc_auc'], run['metrics.size']) == (0.7, 6)


def test_a_flow_runs_from_any_folder_of_the_project(finished: Path) -> None:
    assert (finished / '.mlops_nb' / 'catalogue.db').exists()
    assert not (finished / 'nbs' / '.metaflow').exists()


def test_the_help_of_a_flow_lists_the_parameters_of_its_notebooks(project: Path, mlops: Run) -> None:
    shown = mlops('flow', 'train', 'run', '--help', folder=project).stdout
    assert '--month' in shown and 'the last month to learn from' in shown and '--depth' in shown


@dataclass(frozen=True)
class Failed:
    "A project after a run that failed. Others may follow it there."

    project: Path
    done: subprocess.CompletedProcess[str]
    run: dict


@pytest.fixture(scope='module')
def failed(mlops: Run, tmp_path_factory: pytest.TempPathFactory) -> Failed:
    "A run that failed, in its second step."
    project = small_project(tmp_path_factory.mktemp('failed'))
    done = mlops('flow', 'train', 'run', '--depth', 0, folder=project)
    (run,) = runs(mlops, project)
    return Failed(project, done, run)


def test_a_failed_notebook_keeps_its_outputs_and_shows_one_message(failed: Failed, mlops: Run) -> None:
    assert failed.done.returncode == 1
    said = failed.done.stdout + failed.done.stderr
    assert 'nbs/train.ipynb' in said and 'ValueError: depth is 0' in said
    assert 'mlops_nb/' not in said, 'a traceback of ours'
    assert failed.run['status'] == 'failed'
    mlops('runs', 'show', failed.run['run'], '--folder', 'pages', folder=failed.project)
    page = next((failed.project / 'pages').glob('*-train.html')).read_text()
    assert 'rows: 6' in page and 'depth is 0' in page


def test_the_card_of_a_task_is_its_executed_notebook_on_failure_too(failed: Failed, mlops: Run) -> None:
    number = failed.run['run'].split('/')[1]
    for step, text in ('start', '<h1>'), ('train', 'depth is 0'):
        card = mlops('flow', 'train', 'card', 'get', f'{number}/{step}', folder=failed.project)
        assert text in card.stdout, card.stderr


def test_a_failed_run_is_resumed_from_the_step_that_failed(failed: Failed, mlops: Run) -> None:
    notebook = failed.project / 'nbs' / 'train.ipynb'
    mended = notebook.read_text().replace('if depth < 1', 'if depth < 0')
    notebook.write_text(mended.replace('len(rows) * depth', 'len(rows) * 4'))
    resumed = mlops('flow', 'train', 'resume', folder=failed.project)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert 'start/1 is already done' in resumed.stdout or 'Cloning' in resumed.stdout
    assert runs(mlops, failed.project)[0]['metrics.size'] == 24


ANOTHER_METAFLOW = """
import sys
if any(word.endswith('.py') for word in sys.orig_argv) and 'card' not in sys.orig_argv:
    from metaflow.plugins.cards.card_datastore import CardDatastore
    known = CardDatastore.save_card
    CardDatastore.save_card = lambda self, name, page: known(self, name, 'html', page)
"""


def test_with_another_metaflow_its_own_decorator_makes_the_card(
    project: Path, mlops: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp('other')
    (other / 'sitecustomize.py').write_text(ANOTHER_METAFLOW)
    done = mlops('flow', 'train', 'run', folder=project, PYTHONPATH=str(other))
    assert done.returncode == 0, done.stdout + done.stderr
    number = runs(mlops, project)[0]['run'].split('/')[1]
    card = mlops('flow', 'train', 'card', 'get', f'{number}/train', folder=project)
    assert 'rows: 6' in card.stdout, card.stderr


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--detph', '3'], 'no such option: --detph'),
        (['--month', 'June'], 'June is not a valid integer'),
    ],
)
def test_a_wrong_parameter_of_a_flow_is_refused_before_it_starts(
    project: Path, mlops: Run, options: list[str], expected: str
) -> None:
    done = mlops('flow', 'train', 'run', *options, folder=project)
    assert done.returncode == 2 and expected in done.stderr.lower() + done.stderr
    assert 'Workflow starting' not in done.stdout
    assert runs(mlops, project) == []


def test_one_notebook_is_a_tracked_run_with_its_parameters_and_tells_what_it_prints_when_asked_to(
    project: Path, mlops: Run
) -> None:
    notebook = write_notebook(
        project / 'nbs' / 'look.ipynb',
        cell('month: int = 6  # which month', 'parameters'),
        cell('print("said at once:", month * 7)'),
    )
    done = mlops('run', 'nbs/look.ipynb', '--month', 3, '--log-output', folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'said at once: 21' in done.stdout
    assert runs(mlops, project)[0]['params.month'] == 3
    shown = mlops('run', notebook, '--help', folder=project).stdout
    assert '--month int' in shown and 'which month' in shown and '6  which month' in shown


def test_ctrl_c_keeps_the_notebook_of_a_run(project: Path, mlops: Run) -> None:
    begun = project / 'begun'
    wait = f'print("before")\nopen({str(begun)!r}, "w").close()\nwhile True: pass'
    write_notebook(project / 'wait.ipynb', cell(wait))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('MLOPS_NB_', 'METAFLOW_'))}
    command = [COMMAND, 'run', 'wait.ipynb']
    process = subprocess.Popen(
        command, cwd=project, env=clean, start_new_session=True, stdout=subprocess.PIPE
    )
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130
    (run,) = runs(mlops, project)
    mlops('runs', 'show', run['run'], '--folder', 'pages', folder=project)
    (page,) = (project / 'pages').iterdir()
    assert 'before' in page.read_text() and 'KeyboardInterrupt' in page.read_text()


def test_a_notebook_without_parameters_runs_unchanged_and_keeps_what_it_prints(
    project: Path, mlops: Run
) -> None:
    write_notebook(project / 'plain.ipynb', cell('print("said at once")'))
    done = mlops('run', 'plain.ipynb', folder=project)
    assert done.returncode == 0 and 'said at once' not in done.stdout
    refused = mlops('run', 'plain.ipynb', '--month', 3, folder=project)
    assert refused.returncode == 2 and 'month' in refused.stderr and 'Traceback' not in refused.stderr


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--mnoth', '3'], "Did you mean 'month'?"),
        (['--month', 'June'], 'June'),
        (['--month'], 'has no value'),
    ],
)
def test_a_wrong_parameter_of_a_notebook_is_refused_with_a_clear_message(
    project: Path, mlops: Run, options: list[str], expected: str
) -> None:
    done = mlops('run', 'nbs/features.ipynb', *options, folder=project)
    assert done.returncode == 2 and expected in done.stderr and 'Traceback' not in done.stderr
    assert runs(mlops, project) == []


def test_a_step_runs_in_a_kernel_of_its_own_when_the_settings_say_so_and_root_gets_a_name(
    project: Path, mlops: Run
) -> None:
    settings = project / 'settings.ini'
    settings.write_text(settings.read_text().replace('[user]\nname = ada\n', ''))
    root = {'USER': 'root', 'USERNAME': '', 'LOGNAME': 'root'}
    words = 'flow', 'train', 'run', '--depth', 3
    done = mlops(*words, folder=project, MLOPS_NB_NOTEBOOK_ENGINE='kernel', **root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert runs(mlops, project)[0]['metrics.size'] == 18


def test_a_class_defined_in_a_notebook_is_refused_as_an_artifact(project: Path, mlops: Run) -> None:
    write_notebook(
        project / 'nbs' / 'features.ipynb',
        cell('class Rows: pass\nfrom mlops_nb import step\nstep.save(rows=Rows())'),
    )
    done = mlops('flow', 'train', 'run', folder=project)
    assert done.returncode == 1 and '#| export' in done.stdout


def test_a_remote_step_with_a_local_store_is_refused(project: Path, mlops: Run) -> None:
    done = mlops('flow', 'train', 'run', '--with', 'kubernetes', folder=project)
    assert done.returncode != 0 and '[store] url' in done.stdout + done.stderr


def test_the_code_package_holds_the_project(project: Path, mlops: Run) -> None:
    done = mlops('flow', 'train', 'package', 'list', folder=project)
    listed = done.stdout + done.stderr
    for name in 'nbs/train.ipynb', 'settings.ini':
        assert str(project / name) in listed


def test_by_hand_a_notebook_loads_what_the_latest_run_saved(finished: Path, mlops: Run) -> None:
    by_hand = write_notebook(
        finished / 'nbs' / 'hand.ipynb',
        cell('from mlops_nb import step\nprint("by hand:", step.load("rows"), repr(step.run))'),
    )
    done = mlops('exec', by_hand, '-o', 'out.ipynb', '--cwd', 'nbs', folder=finished)
    assert done.returncode == 0, done.stderr
    assert "by hand: [0, 1, 2] ''" in (finished / 'out.ipynb').read_text()


def test_without_a_run_a_notebook_by_hand_says_which_step_makes_what_is_missing(
    project: Path, mlops: Run
) -> None:
    done = mlops('exec', 'nbs/train.ipynb', '-o', 'out.ipynb', folder=project)
    assert done.returncode == 1 and "'features' saves it" in done.stdout


def test_in_one_process_the_runs_are_those_of_the_project_that_is_asked_about(
    tmp_path_factory: pytest.TempPathFactory, mlops: Run
) -> None:
    roots = [tmp_path_factory.mktemp(name) for name in ('one', 'two')]
    for root in roots:
        (root / 'settings.ini').write_text('[user]\nname = ada\n')
        write_notebook(root / 'look.ipynb', cell('print(1)'))
        assert mlops('run', 'look.ipynb', folder=root).returncode == 0
    ask = """
import sys
from pathlib import Path
from mlops_nb.core import load_settings
from mlops_nb.flows.history import all_runs

for root in sys.argv[1:]:
    print(*[run.pathspec for run in all_runs(load_settings(Path(root)))])
"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('MLOPS_NB_', 'METAFLOW_'))}
    command = [sys.executable, '-c', ask, *map(str, [*roots, *roots])]
    done = subprocess.run(command, env=clean, capture_output=True, text=True)
    known = [path.name for root in roots for path in root.glob('.metaflow/NotebookFlow/[0-9]*')]
    assert len({*known}) == 2
    assert done.stdout.split() == [f'NotebookFlow/{name}' for name in [*known, *known]], done.stderr


def test_flows_are_thin() -> None:
    for path in (ROOT / 'flows').glob('*.py'):
        assert len(path.read_text().splitlines()) <= 60, path.name


def test_no_project_is_said_with_the_way_to_make_one(tmp_path: Path, mlops: Run) -> None:
    done = mlops('flow', 'train', 'run', folder=tmp_path)
    assert done.returncode == 2 and 'settings.ini' in done.stderr and 'mlops-nb tour' in done.stderr
    assert list(tmp_path.iterdir()) == []

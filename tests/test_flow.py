"""Notebooks as steps of real Metaflow runs, started as people start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import COMMAND, ROOT, Run, cell, write_notebook


def runs(mlops: Run, project: Path) -> list[dict]:
    "The project's runs as `mlops-nb runs list --json` prints them."
    return json.loads(mlops('runs', 'list', '--json', folder=project).stdout)


def test_a_flow_of_notebooks_runs_and_its_runs_show_parameters_and_metrics(project: Path, mlops: Run) -> None:
    done = mlops('flow', 'train', 'run', '--month', 3, '--depth', 2, folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(mlops, project)
    assert run['status'] == 'done' and run['user'] == 'ada'
    assert (run['params.month'], run['params.depth']) == (3, 2)
    assert (run['metrics.roc_auc'], run['metrics.size']) == (0.7, 6)


def test_a_flow_runs_from_any_folder_of_the_project(project: Path, mlops: Run) -> None:
    assert mlops('flow', 'train', 'run', folder=project / 'nbs').returncode == 0
    assert (project / '.mlops_nb' / 'catalogue.db').exists() and not (project / 'nbs' / '.metaflow').exists()


def test_the_help_of_a_flow_lists_the_parameters_of_its_notebooks(project: Path, mlops: Run) -> None:
    shown = mlops('flow', 'train', 'run', '--help', folder=project).stdout
    assert '--month' in shown and 'the last month to learn from' in shown and '--depth' in shown


def test_a_failed_notebook_keeps_its_outputs_and_shows_one_message(project: Path, mlops: Run) -> None:
    done = mlops('flow', 'train', 'run', '--depth', 0, folder=project)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert 'nbs/train.ipynb' in said and 'ValueError: depth is 0' in said
    assert 'mlops_nb/' not in said, 'a traceback of ours'
    (run,) = runs(mlops, project)
    assert run['status'] == 'failed'
    mlops('runs', 'show', run['run'], '--folder', 'pages', folder=project)
    page = next((project / 'pages').glob('*-train.html')).read_text()
    assert 'rows: 6' in page and 'depth is 0' in page


def test_a_failed_run_is_resumed_from_the_step_that_failed(project: Path, mlops: Run) -> None:
    notebook = project / 'nbs' / 'train.ipynb'
    before = notebook.read_text()
    notebook.write_text(before.replace('if depth < 1', 'if depth < 100'))
    assert mlops('flow', 'train', 'run', folder=project).returncode == 1
    notebook.write_text(before)
    resumed = mlops('flow', 'train', 'resume', folder=project)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert 'start/1 is already done' in resumed.stdout or 'Cloning' in resumed.stdout
    assert runs(mlops, project)[0]['metrics.size'] == 24


def test_the_card_of_a_task_is_its_executed_notebook_on_failure_too(project: Path, mlops: Run) -> None:
    mlops('flow', 'train', 'run', '--depth', 0, folder=project)
    (run,) = runs(mlops, project)
    for step, text in ('start', '<h1>'), ('train', 'depth is 0'):
        card = mlops('flow', 'train', 'card', 'get', f'{run["run"].split("/")[1]}/{step}', folder=project)
        assert text in card.stdout, card.stderr


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


def test_one_notebook_is_a_tracked_run_with_its_parameters(project: Path, mlops: Run) -> None:
    notebook = write_notebook(
        project / 'nbs' / 'look.ipynb',
        cell('month: int = 6  # which month', 'parameters'),
        cell('print(month * 7)'),
    )
    done = mlops('run', 'nbs/look.ipynb', '--month', 3, folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert runs(mlops, project)[0]['params.month'] == 3
    shown = mlops('run', notebook, '--help', folder=project).stdout
    assert '--month int' in shown and 'which month' in shown and '6  which month' in shown


def test_what_a_notebook_prints_is_told_as_it_comes_when_asked_for(project: Path, mlops: Run) -> None:
    write_notebook(project / 'look.ipynb', cell('print("said at once")'))
    assert 'said at once' in mlops('run', 'look.ipynb', '--log-output', folder=project).stdout
    assert 'said at once' not in mlops('run', 'look.ipynb', folder=project).stdout


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
    process.communicate(timeout=60)
    assert process.returncode == 130
    (run,) = runs(mlops, project)
    mlops('runs', 'show', run['run'], '--folder', 'pages', folder=project)
    (page,) = (project / 'pages').iterdir()
    assert 'before' in page.read_text() and 'KeyboardInterrupt' in page.read_text()


def test_a_notebook_without_parameters_runs_unchanged(project: Path, mlops: Run) -> None:
    write_notebook(project / 'plain.ipynb', cell('print(6 * 7)'))
    assert mlops('run', 'plain.ipynb', folder=project).returncode == 0
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


def test_a_step_runs_in_a_kernel_of_its_own_when_the_settings_say_so(project: Path, mlops: Run) -> None:
    done = mlops('flow', 'train', 'run', '--depth', 3, folder=project, MLOPS_NB_NOTEBOOK_ENGINE='kernel')
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


def test_by_hand_a_notebook_loads_what_the_latest_run_saved(project: Path, mlops: Run) -> None:
    mlops('flow', 'train', 'run', '--month', 4, folder=project)
    by_hand = write_notebook(
        project / 'nbs' / 'hand.ipynb',
        cell('from mlops_nb import step\nprint("by hand:", step.load("rows"), repr(step.run))'),
    )
    done = mlops('exec', by_hand, '-o', 'out.ipynb', '--cwd', 'nbs', folder=project)
    assert done.returncode == 0, done.stderr
    assert "by hand: [0, 1, 2, 3] ''" in (project / 'out.ipynb').read_text()


def test_without_a_run_a_notebook_by_hand_says_which_step_makes_what_is_missing(
    project: Path, mlops: Run
) -> None:
    done = mlops('exec', 'nbs/train.ipynb', '-o', 'out.ipynb', folder=project)
    assert done.returncode == 1 and "'features' saves it" in done.stdout


def test_in_one_process_the_runs_are_those_of_the_project_that_is_asked_about(
    tmp_path_factory: pytest.TempPathFactory, mlops: Run
) -> None:
    roots = [tmp_path_factory.mktemp(name) for name in ('one', 'two')]
    for count, root in enumerate(roots, 1):
        (root / 'settings.ini').write_text('[user]\nname = ada\n')
        write_notebook(root / 'look.ipynb', cell(f'print({count})'))
        for _ in range(count):
            assert mlops('run', 'look.ipynb', folder=root).returncode == 0
    ask = """
import sys
from pathlib import Path
from mlops_nb.core import load_settings
from mlops_nb.flows.history import all_runs

print([len(all_runs(load_settings(Path(root)))) for root in sys.argv[1:]])
"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('MLOPS_NB_', 'METAFLOW_'))}
    command = [sys.executable, '-c', ask, *map(str, roots)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True)
    assert done.stdout.strip() == '[1, 2]', done.stderr


def test_flows_are_thin() -> None:
    for path in (ROOT / 'flows').glob('*.py'):
        assert len(path.read_text().splitlines()) <= 60, path.name


def test_no_project_is_said_with_the_way_to_make_one(tmp_path: Path, mlops: Run) -> None:
    done = mlops('flow', 'train', 'run', folder=tmp_path)
    assert done.returncode == 2 and 'settings.ini' in done.stderr and 'mlops-nb tour' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_as_root_without_a_user_name_gets_one(project: Path, mlops: Run) -> None:
    settings = project / 'settings.ini'
    settings.write_text(settings.read_text().replace('[user]\nname = ada\n', ''))
    done = mlops('flow', 'train', 'run', folder=project, USER='root', USERNAME='', LOGNAME='root')
    assert done.returncode == 0, done.stdout + done.stderr

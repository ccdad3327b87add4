"""A project that was made with the flat layout, before there were packages, still opens.

`before_packages.tar.xz` is such a project: `mlops-nb new claims` on 900 made-up rows, its flow `train`, and
its first version promoted, by the last commit of the flat layout, in another folder than it is opened in.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from small import Run, clean_environment

MADE = Path(__file__).with_name('before_packages.tar.xz')
RUN = 'TrainFlow/1796098266301905'
BY_HAND = """
import warnings
warnings.simplefilter('ignore')
from mlops_nb.step import step
from mlops_nb.registry import load_version
rows, model = step.load('inputs'), step.load('model')
version = load_version(step.store, 'claims@champion')
from claims.train import predict
print(len(rows), type(model).__name__, version, len(predict(version.estimator(), rows)))
"""


@pytest.fixture(scope='module')
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The project, somewhere else than where it was made."
    folder = tmp_path_factory.mktemp('moved')
    with tarfile.open(MADE) as archive:
        archive.extractall(folder, filter='data')
    return folder / 'claims'


def test_its_runs_datasets_and_models_are_listed(claims: Path, mlops: Run) -> None:
    (run,) = json.loads(mlops('runs', 'list', '--json', folder=claims).stdout)
    assert run['run'] == RUN and run['status'] == 'done'
    (version,) = json.loads(mlops('models', 'list', '--json', folder=claims).stdout)
    assert version['aliases'] == 'champion' and round(version['metrics.roc_auc'], 3) == 0.854
    versions = json.loads(mlops('data', 'versions', 'claims', '--json', folder=claims).stdout)
    assert [one['version'] for one in versions] == [1, 2, 3, 4, 5, 6]
    assert '9 entries, none altered' in mlops('audit', 'verify', folder=claims).stdout


def test_its_artifacts_and_its_model_are_loaded_through_the_old_names(claims: Path) -> None:
    done = subprocess.run(
        [sys.executable, '-c', BY_HAND], cwd=claims, env=clean_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows, model, version, predictions = done.stdout.split()
    assert rows == predictions and model.endswith('Pipeline') and version == 'claims@1'


def test_its_notebooks_run_as_they_are(claims: Path, mlops: Run) -> None:
    done = mlops('run', 'nbs/features.ipynb', folder=claims)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(mlops('runs', 'list', '--json', folder=claims).stdout)) == 2


def test_check_and_doctor_say_what_to_write_instead(claims: Path, mlops: Run) -> None:
    done = mlops('check', 'nbs', folder=claims)
    assert 'mlops_nb.step has moved, write `from mlops_nb import step`' in done.stdout
    assert (
        'mlops_nb.registry has moved, write `from mlops_nb.models import aliases as registry`' in done.stdout
    )
    done = mlops('doctor', folder=claims)
    assert (
        'mlops_nb.flow has moved, write `from mlops_nb.flows import FlowSpec, notebook, step`' in done.stdout
    )
    assert 'claims@1 (champion) has no sample' in done.stdout

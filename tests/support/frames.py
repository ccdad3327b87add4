"""Frames of all kinds of columns, and whether two are the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

TEXT = st.text(st.characters(codec='utf-8'), max_size=5)


GAPS = st.sampled_from([None, float('nan'), pd.NA, pd.NaT, np.float64('nan')])


MOMENTS = st.datetimes(pd.Timestamp('1800-01-01'), pd.Timestamp('2200-01-01'))


SPANS = st.timedeltas(timedelta(-9999), timedelta(9999))


WHOLE = st.integers(-(2**63), 2**63 - 1)


OBJECTS = {
    'text': TEXT,
    'numbers': WHOLE,
    'floats': st.floats(),
    'booleans': st.booleans(),
    'bytes': st.binary(max_size=4),
    'days': st.dates(),
    'moments': MOMENTS,
    'timestamps': MOMENTS.map(pd.Timestamp),
    'times': st.times(),
    'spans': SPANS.map(pd.Timedelta),
    'decimals': st.decimals(allow_nan=False, allow_infinity=False),
    'both': TEXT | WHOLE,
    'scalars': st.floats().map(np.float64),
    'gaps': st.nothing(),
    'lists': st.lists(WHOLE, max_size=2),
}


TYPES = {
    **dict.fromkeys(['int64', 'Int64', 'int64[pyarrow]'], WHOLE),
    **dict.fromkeys(['uint8', 'UInt8'], st.integers(0, 255)),
    'uint64': st.integers(0, 2**64 - 1),
    'float16': st.floats(width=16),
    'float32': st.floats(width=32),
    **dict.fromkeys(['float64', 'Float64'], st.floats()),
    **dict.fromkeys(['bool', 'boolean'], st.booleans()),
    **dict.fromkeys(['str', 'string', 'string[pyarrow]'], TEXT),
    'complex128': st.complex_numbers(),
    **{
        f'datetime64[{unit}{zone}]': MOMENTS
        for unit in ('s', 'ms', 'us', 'ns')
        for zone in ('', ', UTC', ', Europe/Berlin')
    },
    **{f'timedelta64[{unit}]': SPANS for unit in ('s', 'ms', 'us', 'ns')},
    **{f'period[{every}]': MOMENTS.map(lambda at, every=every: pd.Period(at, every)) for every in 'MDh'},
    'interval[float64, right]': st.integers(-9, 9).map(lambda n: pd.Interval(float(n), float(n + 1))),
}


WITHOUT_GAPS = 'int64', 'uint8', 'uint64', 'bool', 'complex128'


@st.composite
def columns(draw: st.DrawFn, size: int) -> pd.Series:
    "A column of any type, with any gaps that the type has."
    kind = draw(st.sampled_from(['object', 'category', 'type']))
    if kind == 'object':
        inside = OBJECTS[draw(st.sampled_from(sorted(OBJECTS)))]
        values = np.empty(size, dtype=object)
        values[:] = draw(st.lists(inside | GAPS, min_size=size, max_size=size))
        return pd.Series(values, dtype=object)
    known_types = TYPES if kind == 'type' else TYPES.keys() - {'float16'}  # of which pandas has no categories
    dtype = draw(st.sampled_from(sorted(known_types)))
    inside = TYPES[dtype] if dtype in WITHOUT_GAPS else TYPES[dtype] | st.none()
    if kind == 'type':
        return series(draw(st.lists(inside, min_size=size, max_size=size)), dtype)
    known = pd.Index(series(draw(st.lists(TYPES[dtype], max_size=3)), dtype)).dropna().unique()
    places = draw(st.lists(st.integers(-1, len(known) - 1), min_size=size, max_size=size))
    return pd.Series(pd.Categorical.from_codes(places, known, ordered=draw(st.booleans())))


def series(values: list[Any], dtype: str) -> pd.Series:
    zone = dtype.partition(', ')[2].rstrip(']') if dtype.startswith('datetime64') else ''
    if zone:
        plain = pd.Series(values, dtype=dtype.partition(',')[0] + ']')
        return plain.dt.tz_localize(zone, ambiguous=False, nonexistent='shift_forward')
    return pd.Series(values, dtype=dtype)


KINDS_OF_INDEX = st.sampled_from(['range', 'numbers', 'words', 'objects', 'days', 'both'])


@st.composite
def frames(draw: st.DrawFn, smallest: int = 0) -> pd.DataFrame:  # of rows, and of columns
    size = draw(st.integers(smallest, 6))
    several = draw(st.lists(columns(size), min_size=smallest, max_size=5))
    frame = pd.DataFrame({f'column {k}': one for k, one in enumerate(several)}, index=range(size))
    words, numbers = [f'row {i}' for i in range(size)], [i * 7 % 5 for i in range(size)]
    index = {
        'range': pd.RangeIndex(size),
        'numbers': pd.Index(numbers, dtype='int64', name='number'),
        'words': pd.Index(words, dtype='str'),
        'objects': pd.Index(words, dtype=object),
        'days': pd.date_range('2024-01-01', periods=size, freq='D'),
        'both': pd.MultiIndex.from_arrays([numbers, words], names=['number', 'word']),
    }
    return frame.set_axis(index[draw(KINDS_OF_INDEX)], axis=0)


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    "Equal in pandas' eyes, and in each cell of a column of objects of the same type, gaps too."
    pd.testing.assert_frame_equal(one, other)
    for name in one:
        left, right = one[name], other[name]
        assert left.dtype == right.dtype
        if left.dtype == object:
            assert [*map(type, left)] == [*map(type, right)]
            assert [*map(repr, left)] == [*map(repr, right)]
        if left.dtype == 'category':
            assert left.cat.categories.dtype == right.cat.categories.dtype
            assert [*left.cat.categories] == [*right.cat.categories]

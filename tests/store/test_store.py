"""The store and its catalogue: on both databases, on full and read-only disks, under racing writers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import new_project, postgres, settings  # noqa: F401
from processes import race, run

from mlops_nb.core import ConflictError, Settings, load_settings
from mlops_nb.core.hashing import sha256
from mlops_nb.store import entries, open_store, verify
from mlops_nb.store.audit import append
from mlops_nb.store.check import check, collect
from mlops_nb.store.schema import file, metadata
from mlops_nb.store.store import FORMAT, found_format, get_alias, move_alias, name_file


def test_the_migrations_make_the_tables_that_the_library_uses(settings: Settings) -> None:  # noqa: F811
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    store = open_store(settings)
    with store.engine.connect() as connection:
        assert found_format(connection) == FORMAT
        assert (
            compare_metadata(MigrationContext.configure(connection, opts={'compare_type': True}), metadata)
            == []
        )


def test_the_newest_migration_is_the_format_that_is_asked_for() -> None:
    import mlops_nb

    files = Path(mlops_nb.__path__[0], 'migrations', 'versions').glob('0*.py')
    newest = max(path.stem for path in files)
    assert FORMAT in (newest, newest.partition('_')[0])


def test_processes_that_open_a_new_store_at_once_create_it_once(settings: Settings) -> None:  # noqa: F811
    assert race(_open, settings.root, processes=4) == [FORMAT] * 4


def _open(number: int, root: Path) -> str:
    with open_store(load_settings(root)).read() as connection:
        return found_format(connection)


def test_opening_a_store_that_is_there_imports_no_alembic(tmp_path: Path) -> None:
    open_store(new_project(tmp_path))
    code = (
        'import sys; from pathlib import Path; from mlops_nb.core import load_settings; '
        'from mlops_nb.store import open_store; open_store(load_settings(Path(sys.argv[1]))); '
        'sys.exit("alembic" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code, tmp_path]).returncode == 0


def test_a_reader_sees_one_state_while_somebody_writes(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    count = sa.select(sa.func.count()).select_from(file)
    with store.read() as reader:
        assert reader.scalar(count) == 0
        with store.begin() as writer:
            name_file(writer, sha256(b'abc'), kind='part', bytes=3)
        assert reader.scalar(count) == 0
    with store.read() as reader:
        assert reader.scalar(count) == 1


def test_audit_entries_survive_either_database_to_the_last_digit(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    details = {
        'metrics': {'roc_auc': 0.1 + 0.2, 'tiny': 5e-324},
        'why': 'späte Flüge ✈ "quoted"',
        'rows': 2**60,
    }
    with store.begin() as connection:
        append(connection, 'promote', 'model:late@champion', details, who='ada')
    (entry,) = entries(store)
    assert entry.details == details
    assert verify(store).broken_at is None


def test_an_audit_entry_changed_in_the_database_breaks_the_chain_there(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    for number in range(5):
        with store.begin() as connection:
            append(connection, 'promote', f'model:late@{number}', {}, who='ada')
    with store.begin() as connection:
        connection.exec_driver_sql("UPDATE audit SET who = 'eve' WHERE number = 3")
    assert verify(store).broken_at == 3


# --- racing writers


def _move(number: int, root: Path, times: int) -> list[int]:
    "Move one alias that many times; the revisions that this process won."
    store, won = open_store(load_settings(root)), []
    while len(won) < times:
        with store.read() as connection:
            _, revision = get_alias(connection, 'model', 'late', 'champion') or (0, 0)
        try:
            with store.begin() as connection:
                moved = move_alias(connection, 'model', 'late', 'champion', number, revision=revision)
                append(connection, 'promote', 'model:late@champion', {'to': number}, who=f'process {number}')
        except ConflictError:
            continue
        won.append(moved)
    return won


def _moves_add_up(settings: Settings, processes: int, times: int) -> None:  # noqa: F811
    store = open_store(settings)
    won = race(_move, settings.root, times, processes=processes)
    assert sorted(revision for wins in won for revision in wins) == list(range(1, processes * times + 1))
    with store.read() as connection:
        found = get_alias(connection, 'model', 'late', 'champion')
    last = next(number for number, wins in enumerate(won) if processes * times in wins)
    assert found == (last, processes * times)
    chain = verify(store)
    assert (chain.rows, chain.broken_at) == (processes * times, None)


def test_processes_that_move_one_alias_lose_no_move_and_win_none_twice(settings: Settings) -> None:  # noqa: F811
    _moves_add_up(settings, processes=4, times=10)


@pytest.mark.slow
def test_many_processes_that_move_one_alias_lose_no_move_and_win_none_twice(settings: Settings) -> None:  # noqa: F811
    _moves_add_up(settings, processes=8, times=40)


def _write_row(number: int, root: Path, digest: str) -> None:
    store = open_store(load_settings(root))
    assert store.put(b'the same bytes') == digest
    with store.begin() as connection:
        name_file(connection, digest, kind='part', bytes=14)


def test_processes_that_keep_the_same_bytes_keep_them_once(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    race(_write_row, settings.root, sha256(b'the same bytes'), processes=4)
    assert check(store) == []
    with store.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(file)) == 1


# --- disks that refuse

WRITES = """
import sys
from pathlib import Path
from mlops_nb.store import store as module
from mlops_nb.core import MlopsError, load_settings
from mlops_nb.store.store import name_file
from mlops_nb.store import open_store
module.WAIT = 3600  # for the turn of a writer, never for a disk
try:
    store = open_store(load_settings(Path(sys.argv[1])))
    digest = store.put(b'x' * int(sys.argv[2]))
    with store.begin() as connection: name_file(connection, digest, kind='part', bytes=3)
except MlopsError as e: sys.exit(f'{type(e).__name__}: {e}')
"""


SMALL_DISK = 'mkdir "$1/.mlops_nb"; mount -t tmpfs -o size=2m tmpfs "$1/.mlops_nb"; '


def _in_namespace(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    "Run a shell script that may mount, in a mount namespace of its own; skip where that is not permitted."
    unshare = ['unshare', '--mount', '--map-root-user'] if shutil.which('unshare') else ['false']
    if subprocess.run([*unshare, 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], capture_output=True).returncode:
        pytest.skip('a mount namespace is not permitted here')
    environment = {**os.environ, 'PYTHON': sys.executable, 'WRITES': WRITES}
    return subprocess.run(
        [*unshare, 'sh', '-euc', script, 'sh', *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize('made_before', [True, False], ids=['existing store', 'new store'])
def test_a_store_on_a_read_only_mount_is_refused_with_what_to_change(
    tmp_path: Path, made_before: bool
) -> None:
    settings = new_project(tmp_path)  # noqa: F811
    if made_before:
        open_store(settings)
    before = sorted(tmp_path.rglob('*'))
    done = _in_namespace(
        'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; exec "$PYTHON" -c "$WRITES" "$1" 3', tmp_path
    )
    assert done.returncode == 1, done.stderr
    said = 'may not be written' if made_before else 'Read-only file system'
    assert done.stderr.startswith(f'StoreError: {tmp_path}/.mlops_nb cannot be used: ')
    assert said in done.stderr
    assert '[store] url in settings.ini' in done.stderr
    assert 'Traceback' not in done.stderr
    assert sorted(tmp_path.rglob('*')) == before


def test_a_catalogue_that_turned_read_only_is_refused_with_what_to_change(tmp_path: Path) -> None:
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    open_store(new_project(tmp_path / 'project', f'sqlite:///{elsewhere}/catalogue.db'))
    done = _in_namespace(
        'mount --bind "$2" "$2"; mount -o remount,ro,bind "$2"; exec "$PYTHON" -c "$WRITES" "$1" 3',
        tmp_path / 'project', elsewhere,
    )  # fmt: skip
    assert done.stderr.startswith('StoreError: the catalogue sqlite:///')
    assert 'writable' in done.stderr


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    settings = new_project(tmp_path)  # noqa: F811
    done = _in_namespace(
        SMALL_DISK + '"$PYTHON" -c "$WRITES" "$1" 3; '
        '"$PYTHON" -c "$WRITES" "$1" 4000000 || cp -r "$1/.mlops_nb" "$1/copy"',
        tmp_path,
    )
    assert done.stderr.startswith('StoreError: '), done.stderr
    assert 'No space left on device' in done.stderr
    assert 'Free some space' in done.stderr
    store = open_store(replace(settings, store_url=str(tmp_path / 'copy'),
                               catalog_url=f'sqlite:///{tmp_path}/copy/catalogue.db'))  # fmt: skip
    assert check(store) == []
    assert len(list(store.files.glob('*/*'))) == 1


def test_a_disk_too_full_for_the_catalogue_is_said(tmp_path: Path) -> None:
    new_project(tmp_path)
    done = _in_namespace(
        SMALL_DISK + '"$PYTHON" -c "$WRITES" "$1" 3; '
        'dd if=/dev/zero of="$1/.mlops_nb/big" bs=4k 2>&- || true; rm -f "$1"/.mlops_nb/files/*/*; '
        'head -c 4096 /dev/zero >>"$1/.mlops_nb/big" || true; "$PYTHON" -c "$WRITES" "$1" 1',
        tmp_path,
    )
    assert done.stderr.splitlines()[-1].startswith('StoreError: '), done.stderr
    assert 'Traceback' not in done.stderr


def test_a_damaged_catalogue_is_found(tmp_path: Path) -> None:
    settings = new_project(tmp_path)  # noqa: F811
    store = open_store(settings)
    with store.begin() as connection:
        for number in range(500):
            name_file(connection, sha256(bytes(number)), kind='part', bytes=number)
    store.engine.dispose()
    database = Path(settings.store_url, 'catalogue.db')
    content = bytearray(database.read_bytes())
    start = content.index(sha256(bytes(250)).encode()) // 4096 * 4096  # a page of the table of files
    content[start : start + 4096] = bytes(4096)
    database.write_bytes(content)
    (finding,) = check(open_store(settings))
    assert (finding.kind, finding.is_fault) == ('catalogue', True)


# --- after a crash


def test_a_file_that_a_killed_write_left_is_collected_when_it_is_old(tmp_path: Path) -> None:
    settings = new_project(tmp_path)  # noqa: F811
    store = open_store(settings)
    assert run(_put, tmp_path, crash_at='file.synced') == -9
    (finding,) = check(store)
    assert (finding.kind, finding.is_fault) == ('temporary', False)
    assert collect(store) == []  # young: the write might still be going on
    (left,) = (store.files / 'tmp').iterdir()
    os.utime(left, (0, 0))
    assert collect(store) == [finding]
    assert check(store) == []


def _put(root: Path) -> None:
    open_store(load_settings(root)).put(b'abc')


def test_bytes_kept_again_are_not_collected_before_their_row_is_written(tmp_path: Path) -> None:
    store = open_store(new_project(tmp_path))
    digest = store.put(b'abc')  # nothing names it, and a long time passes
    os.utime(store.path(digest), (0, 0))
    store.put(b'abc')
    assert collect(store) == []
    assert store.get(digest) == b'abc'

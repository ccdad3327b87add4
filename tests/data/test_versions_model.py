"""Any sequence of commits, upserts, branches, merges, compactions, erasures gives what a dictionary would."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from databases import new_project
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlops_nb.core import ConflictError
from mlops_nb.data import (
    commit,
    compact,
    create_branch,
    diff,
    drop_branch,
    erase,
    find,
    merge,
    read,
    tag,
    upsert,
    versions,
)
from mlops_nb.store import open_store, verify
from mlops_nb.store.check import check, collect

Rows = dict[int, int]  # x by n, which is the key
BATCHES, NAMES = st.sampled_from('abc'), st.sampled_from(['main', 'fix', 'trial'])
ROWS = st.dictionaries(st.integers(0, 6), st.integers(0, 2), min_size=1, max_size=4)


def table(rows: Rows) -> pa.Table:
    return pa.table({'n': pa.array(rows.keys(), 'int64'), 'x': pa.array(rows.values(), 'int64')})


@dataclass
class Line:
    "A branch in memory: where it left, and where it is."

    base: int
    head: int
    parent: str


@dataclass
class Memory:
    "What the store should say."

    states: list[dict[str, Rows]] = field(default_factory=list)  # by version, from 1 on
    lines: dict[str, Line] = field(default_factory=lambda: {'main': Line(0, 0, '')})
    of: list[str] = field(default_factory=list)  # the branch of each version
    tags: dict[str, int] = field(default_factory=dict)

    def state(self, version: int) -> dict[str, Rows]:
        return self.states[version - 1] if version else {}

    def add(self, name: str, state: dict[str, Rows]) -> int:
        self.states.append(state)
        self.of.append(name)
        self.lines[name].head = len(self.states)
        return len(self.states)


class Versions(RuleBasedStateMachine):
    "The store and the memory, side by side."

    @initialize(rows=ROWS)
    def begin(self, rows: Rows) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store, self.memory = open_store(new_project(Path(self.folder.name, 'project'))), Memory()
        commit(self.store, 'rows', table(rows), batch='a')
        self.memory.add('main', {'a': rows})

    def teardown(self) -> None:
        if hasattr(self, 'folder'):
            assert verify(self.store).broken_at is None
            collect(self.store, grace=0)
            assert check(self.store) == []
            self.store.engine.dispose()
            self.folder.cleanup()

    def unique(self, name: str, batch: str, rows: Rows) -> Rows:
        "The rows whose keys no other batch has."
        others = self.memory.state(self.memory.lines[name].head)
        taken = {n for other, there in others.items() if other != batch for n in there}
        return {n: x for n, x in rows.items() if n not in taken}

    @rule(name=NAMES, batch=BATCHES, rows=ROWS)
    def commits(self, name: str, batch: str, rows: Rows) -> None:
        if name not in self.memory.lines or not (rows := self.unique(name, batch, rows)):
            return
        before = self.memory.state(self.memory.lines[name].head)
        version = commit(self.store, 'rows', table(rows), batch=batch, branch=name)
        if list(before.get(batch, {}).items()) != list(rows.items()):
            assert version.version == self.memory.add(name, {**before, batch: rows})
        else:
            assert len(versions(self.store)) == len(self.memory.states)

    @rule(name=NAMES, batch=BATCHES, rows=ROWS)
    def upserts(self, name: str, batch: str, rows: Rows) -> None:
        if name not in self.memory.lines:
            return
        before = self.memory.state(self.memory.lines[name].head)
        after = {b: {n: rows.get(n, x) for n, x in there.items()} for b, there in before.items()}
        known = {n for there in before.values() for n in there}
        if new := {n: x for n, x in rows.items() if n not in known}:
            after[batch] = {**after.get(batch, {}), **new}
        version = upsert(self.store, 'rows', table(rows), batch=batch, key=['n'], branch=name)
        if after != before:
            assert version.version == self.memory.add(name, after)

    @rule(name=NAMES, source=NAMES)
    def branches(self, name: str, source: str) -> None:
        if name in self.memory.lines or name in self.memory.of or source not in self.memory.lines:
            return
        base = self.memory.lines[source].head
        create_branch(self.store, f'rows@{base}', name)
        self.memory.lines[name] = Line(base, base, self.memory.of[base - 1])

    @rule(name=st.sampled_from(['fix', 'trial']))
    def merges(self, name: str) -> None:
        line = self.memory.lines.get(name)
        if line is None or line.parent not in self.memory.lines:
            return
        if line.head == line.base:
            assert merge(self.store, 'rows', name).version == line.base
        elif self.memory.lines[line.parent].head != line.base:
            with pytest.raises(ConflictError):
                merge(self.store, 'rows', name)
        else:
            number = self.memory.add(line.parent, dict(self.memory.state(line.head)))
            assert merge(self.store, 'rows', name).version == number
            line.base = line.head = number

    @rule(name=st.sampled_from(['fix', 'trial']))
    def drops(self, name: str) -> None:
        if name in self.memory.lines and name not in {line.parent for line in self.memory.lines.values()}:
            drop_branch(self.store, 'rows', name)
            del self.memory.lines[name]

    @rule(name=NAMES)
    def tags(self, name: str) -> None:
        if name in self.memory.lines:
            self.memory.tags['reviewed'] = self.memory.lines[name].head
            tag(self.store, f'rows@{self.memory.lines[name].head}', 'reviewed')

    @rule(target_rows=st.integers(2, 8))
    def compacts(self, target_rows: int) -> None:
        compact(self.store, 'rows', target=target_rows)

    @rule()
    def collects(self) -> None:
        collect(self.store, grace=0)

    @rule(n=st.integers(0, 6))
    def erases(self, n: int) -> None:
        lost = {
            str(i): 1
            for i, state in enumerate(self.memory.states, 1)
            if any(n in rows for rows in state.values())
        }
        assert erase(self.store, 'rows', {'n': n}).rows == lost
        self.memory.states = [
            {b: {k: x for k, x in rows.items() if k != n} for b, rows in state.items()}
            for state in self.memory.states
        ]

    @precondition(lambda self: len(self.memory.states) > 1)
    @rule(data=st.data())
    def differs(self, data: st.DataObject) -> None:
        a, b = (data.draw(st.integers(1, len(self.memory.states))) for _ in range(2))
        was, then = (
            {n: x for rows in self.memory.state(v).values() for n, x in rows.items()} for v in (a, b)
        )
        found = diff(self.store, f'rows@{a}', f'rows@{b}', key=['n'])
        changed = sum(was[n] != then[n] for n in was.keys() & then.keys())
        assert (found.added, found.removed, found.changed) == (
            len(then.keys() - was.keys()),
            len(was.keys() - then.keys()),
            changed,
        )

    @invariant()
    def every_version_is_what_it_was(self) -> None:
        if not hasattr(self, 'memory'):
            return
        for number, state in enumerate(self.memory.states, 1):
            version = find(self.store, f'rows@{number}')
            kept = [
                (batch, list(zip(*rows.to_pydict().values(), strict=True)))
                for batch, rows in read(self.store, version)
            ]
            assert kept == [(batch, list(rows.items())) for batch, rows in state.items()]
            assert version.rows == sum(map(len, state.values()))
        for name, line in self.memory.lines.items():
            assert find(self.store, f'rows@{name}').version == line.head
        for name, number in self.memory.tags.items():
            assert find(self.store, f'rows@{name}').version == number


TestVersions = Versions.TestCase
TestVersions.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

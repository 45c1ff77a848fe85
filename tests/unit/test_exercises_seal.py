"""Only results that were sealed with the key of their folder are believed."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_proclife.exercises.results import Result, Status, Store
from pytest_proclife.exercises.seal import FILE, Seal

RESULT = Result(submission="ada", status=Status.GRADED, marks=(), seconds=1.0, key="key")


def test_a_result_is_known_to_the_store_of_the_same_folder_alone(tmp_path: Path) -> None:
    seal = Seal.take(tmp_path)
    Store(tmp_path, seal).keep(RESULT)
    assert (tmp_path / FILE).read_text() == "-" * 64 + "\n"
    seal.leave(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    again = Seal.take(tmp_path)
    assert (tmp_path / FILE).read_text() == "-" * 64 + "\n"
    assert Store(tmp_path, again).known("ada", "key") == RESULT
    assert Store(tmp_path, Seal()).known("ada", "key") is None
    assert Store(tmp_path, Seal.take(tmp_path)).known("ada", "key") is None  # the key is gone


def test_a_result_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep(RESULT)
    path = tmp_path / "results/ada.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "seconds": 2.0}))
    assert store.sealed("ada") is None
    path.write_text(json.dumps({name: values[name] for name in values if name != "seal"}))
    assert store.sealed("ada") is None
    (tmp_path / "results/bob.json").write_text(json.dumps(values))
    assert store.sealed("bob") is None
    path.write_text(json.dumps(values))
    assert store.sealed("ada") == RESULT


def test_anything_but_a_key_is_none(tmp_path: Path) -> None:
    assert Seal.of(tmp_path) is None
    for text in ("", "zz", "00", "\udcff"):
        (tmp_path / FILE).write_text(text, errors="surrogateescape")
        assert Seal.of(tmp_path) is None
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to(tmp_path / "key")
    Seal().leave(tmp_path)
    assert not (tmp_path / "key").exists()
    assert Seal.of(tmp_path) is not None


def test_a_key_is_not_written_to_a_file_that_has_replaced_its_own(tmp_path: Path) -> None:
    seal = Seal.take(tmp_path)
    (tmp_path / FILE).unlink()
    with (tmp_path / FILE).open("w+") as file:
        seal.leave(tmp_path)
        assert file.read() == ""
    assert Seal.of(tmp_path) is not None

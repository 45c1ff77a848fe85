"""What the guard knows of starts, and that the program does not notice it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from guard_starts import POPENS
from guarding import output_of


def facts_of(function: str, *arguments: str) -> dict[str, Any]:
    """The facts that a function of the target returns, in a process of its own."""
    facts = output_of("guard_starts.py", function, *arguments)
    assert isinstance(facts, dict)
    return facts


@pytest.mark.parametrize("how", POPENS)
def test_each_way_to_start_a_program_hands_down_a_tag_of_its_own(how: str) -> None:
    facts = facts_of("two_programs", how)
    assert facts["pids_by_tag"] == facts["pids"]
    for pid in facts["pids"]:
        assert [pid, "subprocess", True] in facts["found"]
    assert facts["codes"] == [0, 0]
    assert facts["found_after"] == []


def test_an_orphan_of_a_program_is_known_by_the_tag_alone() -> None:
    facts = facts_of("orphans_of_shells")
    assert facts["found"] == {str(pid): ["sh", False] for pid in facts["pids"]}


def test_a_shell_of_os_system_hands_the_tag_down() -> None:
    facts = facts_of("orphan_of_os_system")
    assert facts["name"] == "sh"
    assert facts["where"] == "orphan_of_os_system"


def test_an_error_of_a_start_is_as_it_was_and_shows_no_frame_of_ours() -> None:
    texts = facts_of("starts_that_fail")["texts"]
    assert len(texts) == 4
    for text in texts:
        assert "pytest_proclife" not in text
    assert [("FileNotFoundError" in text) for text in texts[:3]] == [True] * 3


def test_a_preexec_fn_has_its_effect_and_is_not_taken_for_a_fork() -> None:
    assert facts_of("preexec_fn") == {"umask": "0027\n", "kinds": ["subprocess"]}


def test_a_program_that_is_given_a_list_of_descriptors_gets_these_alone() -> None:
    facts = facts_of("pass_fds")
    # that of the listing itself is the last
    assert max(facts["found"]) <= max(facts["reader"], 3) + 1


def test_the_first_process_of_a_program_that_imports_multiprocessing_late_has_its_name() -> None:
    assert facts_of("late_import") == {
        "is_imported": sys.version_info < (3, 12),
        "name": "late",
        "kind": "process",
        "exact": True,
    }


def test_it_does_no_harm_if_its_descriptors_are_closed() -> None:
    expected = {"code": 0, "status": 3 << 8, "is_clean": False, "is_lost": True}
    assert facts_of("closed_descriptors") == expected


def test_it_does_not_write_to_a_descriptor_that_the_program_has_replaced(tmp_path: Path) -> None:
    assert facts_of("replaced_descriptors", str(tmp_path / "file")) == {"size": 0}


def test_threads_of_the_program_are_not_processes() -> None:
    facts = facts_of("threads")
    assert facts["found"] == [[facts["pid"], "subprocess", True]]


def test_a_fork_that_notes_its_pid_and_drops_the_tag_during_a_look_is_found() -> None:
    assert facts_of("fork_that_drops_the_tag")["found"] == [["os_fork", True]]


def test_what_a_fork_starts_has_its_own_line() -> None:
    facts = facts_of("start_in_a_fork")
    assert facts["subprocess"] == "below"
    assert facts["os_fork"] == "start_in_a_fork"


def test_a_worker_is_one_if_its_own_start_does_more() -> None:
    kinds = ["executor_worker", "manager", "pool_worker"]
    assert facts_of("overridden_start")["kinds"] == kinds


@pytest.mark.parametrize("how", ["posix_spawn", "subprocess"])
def test_a_start_by_a_signal_handler_in_the_midst_of_our_code_is_known(how: str) -> None:
    assert facts_of("start_by_a_handler_within_our_code", how)["names"] == ["", "sleep"]


def test_a_process_that_its_popen_starts_alone_is_a_fork_with_that_line() -> None:
    facts = facts_of("popen_of_multiprocessing_alone")
    assert facts["is_its_pid"]
    assert facts["kind"] == "os_fork"
    assert facts["where"] == "starts"


def test_no_note_is_kept_of_what_has_been_started_and_the_name_is_the_last_one() -> None:
    assert facts_of("renamed_process") == {"notes_kept": 0, "names": ["renamed"]}


def test_a_pool_that_could_not_be_made_is_not_a_maker() -> None:
    assert facts_of("pool_that_fails") == {"has_failed": True, "is_empty": True}


@pytest.mark.parametrize("how", ["posix_spawn", "system"])
def test_a_fork_by_a_signal_handler_goes_on_in_the_midst_of_our_code(how: str) -> None:
    assert facts_of("fork_by_a_handler_within_our_code", how) == {"code": 0}


def test_a_fork_holds_no_lock_whichever_thread_held_it() -> None:
    assert facts_of("forks_and_the_lock") == {"codes": [0, 0], "forks": 0}


FREE = {"is_free": True, "left": [0, 0, None]}


def test_threads_that_start_processes_at_once_hinder_neither_each_other_nor_later_starts() -> None:
    assert facts_of("programs_of_threads") == {"not_noted": 0, **FREE}


def test_a_handler_that_runs_programs_during_a_start_leaves_nothing_locked() -> None:
    assert facts_of("programs_of_a_handler") == FREE


@pytest.mark.parametrize("how", ["system", "posix_spawn", "run"])
def test_what_a_preexec_fn_starts_changes_neither_limit_nor_line_of_its_program(how: str) -> None:
    expected = {"is_kept": True, "name": "sh", "where": "starts_in_a_preexec_fn"}
    assert facts_of("starts_in_a_preexec_fn", how) == expected


def test_an_orphan_that_has_set_the_limit_itself_is_known_by_its_descriptor() -> None:
    assert facts_of("limit_of_its_own") == {"where": "limit_of_its_own", "is_first": True}

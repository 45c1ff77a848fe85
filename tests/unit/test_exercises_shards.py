"""Which shard of the submissions a job grades."""

from __future__ import annotations

import pytest

from pytest_proclife.exercises.shards import Shard, shard_of

NAMES = [f"{number:02}" for number in range(11)]


@pytest.mark.parametrize("count", [1, 2, 3, 11, 20])
def test_each_submission_is_in_one_shard(count: int) -> None:
    shares = [Shard(number=n, count=count).share(NAMES) for n in range(1, count + 1)]
    assert sorted(name for share in shares for name in share) == NAMES
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert Shard(number=1, count=count).share(NAMES[::-1]) == shares[0]


SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3"}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        (None, {}, None),
        ("2/3", {}, (2, 3)),
        ("2/3", SLURM, (2, 3)),
        (None, SLURM, (2, 3)),
        (None, {**SLURM, "SLURM_ARRAY_TASK_MIN": "5"}, (3, 3)),
        (
            None,
            {**SLURM, "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_STEP": "4"},
            (2, 3),
        ),
        (None, {"SLURM_ARRAY_TASK_ID": "7"}, None),
        ("4", {"JOB_COMPLETION_INDEX": "3"}, (4, 4)),
        ("/4", {"JOB_COMPLETION_INDEX": "0"}, (1, 4)),
        (None, {"JOB_COMPLETION_INDEX": "1", "JOB_COMPLETIONS": "2"}, (2, 2)),
        (None, {"JOB_COMPLETION_INDEX": "1"}, "say --shard N"),
        ("4", {"JOB_COMPLETION_INDEX": "4"}, "no shard 5 of 4"),
        ("0/4", {}, "no shard 0 of 4"),
        ("5/4", {}, "no shard 5 of 4"),
        ("4", {}, "say 1/4 to 4/4"),
        ("a/4", {}, "must be I/N, such as 2/10, not 'a/4'"),
        ("", {}, "must be I/N"),
    ],
)
def test_a_shard_is_said_by_the_option_or_by_the_environment(
    text: str | None, environment: dict[str, str], expected: tuple[int, int] | str | None
) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            shard_of(text, environment)
        return
    shard = shard_of(text, environment)
    assert (None if shard is None else (shard.number, shard.count)) == expected


def test_the_jobs_of_an_array_have_each_shard_once() -> None:
    for first in (0, 1, 4):
        found = {
            str(shard_of(None, {**SLURM, "SLURM_ARRAY_TASK_ID": str(first + n)})) for n in range(3)
        }
        assert found == {"1/3", "2/3", "3/3"}

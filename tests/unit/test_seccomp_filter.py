"""The filter of the second witness: which calls it holds, run here as the kernel runs it."""

from __future__ import annotations

import struct

import pytest

from pytest_proclife.supervisor import seccomp

X86_64, I386, AARCH64, ARM, RISCV = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0xC00000F3
ALLOW, HOLD = 0x7FFF0000, 0x7FC00000
NO_SUCH_CALL = 100_000
SIGCHLD = 17

# (architecture, number, name) as in the kernel's own tables
NUMBERS = [
    *((X86_64, 62, "kill"), (X86_64, 200, "tkill"), (X86_64, 234, "tgkill")),
    *((X86_64, 129, "rt_sigqueueinfo"), (X86_64, 297, "rt_tgsigqueueinfo")),
    *((X86_64, 424, "pidfd_send_signal"), (X86_64, 218, "set_tid_address")),
    *((X86_64, 61, "wait4"), (X86_64, 247, "waitid")),
    *((X86_64, 273, "set_robust_list"), (X86_64, 157, "prctl"), (X86_64, 37, "alarm")),
    *((I386, 37, "kill"), (I386, 7, "waitpid"), (I386, 258, "set_tid_address")),
    *((AARCH64, 129, "kill"), (AARCH64, 260, "wait4")),
    *((AARCH64, 99, "set_robust_list"), (AARCH64, 95, "waitid"), (AARCH64, 138, "rt_sigqueueinfo")),
    *((ARM, 37, "kill"), (ARM, 338, "set_robust_list"), (ARM, 280, "waitid")),
]
MACHINES = {X86_64: "x86_64", I386: "x86_64", AARCH64: "aarch64", ARM: "aarch64"}


def verdict(machine: str, architecture: int, number: int, *arguments: int) -> int:
    """What the filter returns for a call: an interpreter of bpf(4)'s classic instructions."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    accumulator, place = 0, 0
    while True:
        code, if_true, if_false, value = program[place]
        place += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                place += if_true if accumulator == value else if_false
            case 0x35:  # BPF_JGE
                place += if_true if accumulator >= value else if_false
            case 0x06:  # BPF_RET | BPF_K
                return int(value)
            case _:
                raise AssertionError(f"no instruction of ours: {code:#x}")


def arguments_that_matter(name: str) -> tuple[int, ...]:
    return {"prctl": (seccomp.PR_SET_PDEATHSIG, 9)}.get(name, (15, 15, 15))


@pytest.mark.parametrize(("architecture", "number", "name"), NUMBERS)
def test_a_call_is_held_by_its_number_on_each_architecture(
    architecture: int, number: int, name: str
) -> None:
    machine = MACHINES[architecture]
    assert seccomp.names(architecture)[number] == name
    assert verdict(machine, architecture, number, *arguments_that_matter(name)) == HOLD
    assert verdict(machine, architecture, NO_SUCH_CALL) == ALLOW


@pytest.mark.parametrize("architecture", MACHINES)
def test_all_other_calls_go_on(architecture: int) -> None:
    held = seccomp.names(architecture)
    assert {
        verdict(MACHINES[architecture], architecture, number, 15, 15, 15)
        for number in range(600)
        if number not in held
    } == {ALLOW}


@pytest.mark.parametrize("number", [62, 200, 424, 129])
def test_to_ask_whether_a_process_is_there_is_not_held(number: int) -> None:
    assert verdict("x86_64", X86_64, number, 1234, 0) == ALLOW
    assert verdict("x86_64", X86_64, number, 1234, 9) == HOLD


def test_the_signal_of_a_thread_is_its_third_argument() -> None:
    assert verdict("x86_64", X86_64, 234, 1234, 1235, 0) == ALLOW
    assert verdict("x86_64", X86_64, 234, 1234, 0, 15) == HOLD


# fork, vfork, clone, clone3, exit_group: their programs do not expect EINTR
@pytest.mark.parametrize("number", [57, 58, 56, 435, 231])
def test_no_call_is_held_that_must_not_be_interrupted(number: int) -> None:
    assert verdict("x86_64", X86_64, number, SIGCHLD) == ALLOW


def test_of_prctl_only_the_parent_death_signal_is_held() -> None:
    assert verdict("x86_64", X86_64, 157, 15) == ALLOW  # PR_SET_NAME
    assert verdict("x86_64", X86_64, 157, seccomp.PR_SET_PDEATHSIG, 9) == HOLD


def test_each_call_of_an_x32_program_is_held_since_its_numbers_are_others() -> None:
    assert verdict("x86_64", X86_64, 0x40000000 | 39) == HOLD


def test_an_architecture_that_is_not_of_the_machine_is_let_through() -> None:
    assert verdict("x86_64", AARCH64, 129, 1, 9) == ALLOW


@pytest.mark.parametrize("machine", ["riscv64", "ppc64le", "s390x", ""])
def test_a_machine_whose_numbers_are_not_known_has_no_second_witness(machine: str) -> None:
    assert machine in seccomp.lacking(machine)
    with pytest.raises(seccomp.Unavailable, match=f"not those of {machine}"):
        seccomp.install(machine)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_within_what_the_kernel_takes(machine: str) -> None:
    assert seccomp.lacking(machine) == ""
    assert len(seccomp.program(machine)) // 8 < 4096  # BPF_MAXINSNS


def test_an_argument_that_is_negative_in_c_is_negative() -> None:
    call = seccomp.Call(1, 2, "kill", ((1 << 32) - 7, (1 << 64) - 1, 15))
    assert [call.integer(index) for index in range(3)] == [-7, -1, 15]

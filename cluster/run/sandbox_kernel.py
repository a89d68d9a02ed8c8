"""What Linux lets a process give up for good: system calls that neither Python nor a library of ours has.

Each raises OSError where this kernel, or the container around it, has it not. What is given up is given up
for threads and processes that come later, too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct
import sys
from collections.abc import Iterable
from functools import cache

# Sets of rights to files, as include/uapi/linux/landlock.h counts them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_CHAR, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8
_MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM, _REFER, _TRUNCATE = (1 << bit for bit in range(9, 15))
LIST = READ_DIR
READ = EXECUTE | READ_FILE | READ_DIR
_MAKING = _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
WRITE = READ | WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKING | _REFER | _TRUNCATE
# All that can be said of what is no folder.
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE
# From the version of Landlock on that is named: moving to another folder, cutting short, being kept from
# signals and sockets without a path of processes outside.
_REFER_SINCE, TRUNCATE_SINCE, _SCOPES_SINCE = 2, 3, 6
_SCOPES = 3

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38

# What no decoder asks for, and what leads out of the rest: other processes' memory and files, mounts and
# namespaces, files by their handles, sockets by rings, and parts of the kernel that are seldom looked at.
_CALLS = {
    "x86_64": {
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "setns": 308, "unshare": 272,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "open_by_handle_at": 304, "bpf": 321, "perf_event_open": 298,
        "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250, "init_module": 175,
        "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
        "reboot": 169, "swapon": 167, "swapoff": 168,
    },
    "aarch64": {
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "pidfd_getfd": 438,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "setns": 268, "unshare": 97,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "open_by_handle_at": 265, "bpf": 280, "perf_event_open": 241,
        "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219, "init_module": 105,
        "finit_module": 273, "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294,
        "reboot": 142, "swapon": 224, "swapoff": 225,
    },
}  # fmt: skip
_SOCKET = {"x86_64": 41, "aarch64": 198}
_ON_SOCKETS = {
    "x86_64": {"connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288},
    "aarch64": {"bind": 200, "listen": 201, "accept": 202, "connect": 203, "accept4": 242},
}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # x86-64 has a second set of numbers, from here on
_AF_UNIX = 1

_SET_MODE_FILTER = 1
# Threads that run already are held, too; and no mitigation is turned on that slows all of a process down,
# which kernels before 5.16 do otherwise.
_ALL_THREADS, _NO_SLOWDOWN = 1 << 0, 1 << 2
_LOAD, _IS, _IS_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


def drop_privileges() -> None:
    """No program that this thread starts gains rights, as by set-user-ID."""
    _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))))


def filter_calls(*, network: bool, local_sockets: bool = False) -> None:
    """Refuses, on all threads of the process, system calls that lead out of it.

    Args:
        network: whether sockets stay; without, none can be made.
        local_sockets: whether those to processes of this machine stay even so.
    """
    machine = platform.machine()
    if machine not in _CALLS:
        raise OSError(errno.ENOSYS, f"no filter is known for the processor {machine}")
    steps = [
        *_steps((_LOAD, 0, 0, _ARCH_AT), (_IS, 1, 0, _AUDIT_ARCH[machine]), (_RETURN, 0, 0, _REFUSE)),
        *_steps((_LOAD, 0, 0, _NUMBER_AT)),
    ]
    if machine == "x86_64":
        steps += _steps((_IS_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE))
    refused = list(_CALLS[machine].values())
    if not network and not local_sockets:
        refused += [_SOCKET[machine], *_ON_SOCKETS[machine].values()]
    for number in refused:
        steps += _steps((_IS, 0, 1, number), (_RETURN, 0, 0, _REFUSE))
    if not network and local_sockets:
        steps += _steps(
            (_IS, 0, 3, _SOCKET[machine]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
            (_IS, 1, 0, _AF_UNIX),
            (_RETURN, 0, 0, _REFUSE),
        )
    steps += _steps((_RETURN, 0, 0, _ALLOW))
    program = ctypes.create_string_buffer(b"".join(steps))
    given = struct.pack("@HP", len(steps), ctypes.addressof(program))
    flags = _ALL_THREADS | _NO_SLOWDOWN
    if _syscall(_SECCOMP[machine], _SET_MODE_FILTER, flags, ctypes.c_char_p(given)):
        raise OSError(errno.EBUSY, "a thread has a filter of its own")


def _steps(*steps: tuple[int, int, int, int]) -> list[bytes]:
    """Instructions of the kernel's filters: (what, steps to skip if true, if not, operand)."""
    return [struct.pack("@HBBI", *step) for step in steps]


def landlock_version() -> int:
    """The version of Landlock that this kernel has; each can refuse more."""
    return _syscall(_LANDLOCK_CREATE, None, 0, 1)


def confine_files(rules: Iterable[tuple[bytes, int]]) -> None:
    """This thread reaches no files from now on but those that rules allow.

    Args:
        rules: a path, and the rights to it and to what is below it; `LIST`, `READ` or `WRITE`. Paths that
            are not there are left out. Links are followed: the rule is for what they lead to.
    """
    version = landlock_version()
    handled = WRITE | _MAKE_CHAR | _MAKE_BLOCK
    handled &= ~(_REFER if version < _REFER_SINCE else 0) & ~(_TRUNCATE if version < TRUNCATE_SINCE else 0)
    scopes = _SCOPES if version >= _SCOPES_SINCE else 0
    asked = struct.pack("@QQQ", handled, 0, scopes)
    ruleset = _syscall(_LANDLOCK_CREATE, ctypes.c_char_p(asked), len(asked), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        _syscall(_LANDLOCK_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: bytes, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not for this user
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE
        if rights:
            rule = ctypes.c_char_p(struct.pack("=Qi", rights, place))
            _syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0)
    finally:
        os.close(place)


def _syscall(number: int, *arguments: int | ctypes.c_char_p | None) -> int:
    # As long as a register: a plain int would be passed as half of one.
    passed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(_libc().syscall(ctypes.c_long(number), *passed))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@cache
def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"{platform.system()} has no such call")
    return ctypes.CDLL(None, use_errno=True)

"""Run as a program of its own: gives up privileges, ties its life to its parent's, and becomes a server.

    python -I -S child.py PARENT_PID SIGNAL UID GID CAPABILITY -- program argument …

UID -1 keeps the user. CAPABILITY is the number of the one capability to keep through the change of user, or -1. It is a
program because the order matters (the kernel forgets the death signal when the user changes), and because nothing of
this may run between fork and exec of a process that has threads. It imports nothing of flora.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522

EXIT_PARENT_GONE = 120
EXIT_NOT_ALLOWED = 121


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapSets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _become(libc: ctypes.CDLL, uid: int, gid: int, capability: int) -> None:
    if capability >= 0:
        # Keeps capabilities through the change of user, and counts them in access(2), which the server asks about its
        # own files.
        _check(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "keeping capabilities")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if capability >= 0:
        sets = (_CapSets * 2)()  # two words of 32 capabilities each
        bit = 1 << (capability % 32)
        sets[capability // 32] = _CapSets(bit, bit, bit)
        _check(libc.capset(ctypes.byref(_CapHeader(CAPABILITY_VERSION_3, 0)), sets), "limiting capabilities")
        _check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0), "handing on the capability")


def _die_with_parent(libc: ctypes.CDLL, parent_pid: int, signal_number: int) -> None:
    if sys.platform == "linux":
        _check(libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "asking for the death signal")
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit(EXIT_PARENT_GONE)


def main(argv: list[str]) -> None:
    parent_pid, signal_number, uid, gid, capability = (int(value) for value in argv[:5])
    command = argv[6:]
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if uid >= 0:
            _become(libc, uid, gid, capability)
        os.umask(0o077)
        _die_with_parent(libc, parent_pid, signal_number)
        os.execv(command[0], command)
    except OSError as exc:
        sys.stderr.write(f"{command[0]} cannot be started: {exc}\n")
        sys.exit(EXIT_NOT_ALLOWED)


if __name__ == "__main__":
    main(sys.argv[1:])

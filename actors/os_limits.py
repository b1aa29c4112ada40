"""What the operating system holds a worker to, beside the limits of V8 and ours. Linux gives all of it without root.

Every worker: no core dump (V8's address space is a terabyte of reservations; an abort must be over in milliseconds), and no
program it might start has more rights than it has. A dedicated worker, whose guild is known to be dangerous or wants to be
alone, also: address space, private memory, open files.

V8 reserves 1.4 TB of address space when it starts and 1.8 GB with each isolate (measured, V8 14.4), so a limit on address space
can only stop what runs away by many gigabytes. What V8 makes writable inside its reservations is counted as data: that limit is the
sharp one. Whoever runs into it is ended by V8, which takes a dedicated worker down and nothing else.
"""

from __future__ import annotations

import ctypes
import logging
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from flora.messages.lifecycle import Start

log = logging.getLogger(__name__)

MB = 1024 * 1024
PR_SET_NO_NEW_PRIVS = 38
ISOLATES = 4  # the default one, the guild's, the one that replaces it, and one that is still closing
ISOLATE_RESERVES_BYTES = 2048 * MB
ISOLATE_OVERHEAD_BYTES = 16 * MB  # SDK, stacks, tables
HEAP_CEILING = 1.25  # V8 may pass its limit by that before it is ended
V8_START_BYTES = 768 * MB  # private memory that V8's and libc's own threads take with the first isolate
KV_BYTES = 512 * MB  # keys of the guild's open stores, see `kv.max_store_keys`; twice while one is opened or compacted
OPEN_FILES = 1024  # sockets to its peers, four descriptors per isolate


@dataclass(frozen=True, slots=True)
class DedicatedLimits:
    """Limits of one dedicated worker's process."""

    address_space_bytes: int
    data_bytes: int
    open_files: int = OPEN_FILES


def dedicated_limits(vm_bytes: int, data_bytes: int, heap_mb: int, buffer_mb: int) -> DedicatedLimits:
    """What a dedicated worker may have.

    Args:
        vm_bytes: Address space it has, V8 being initialised.
        data_bytes: Private writable memory it has then.
        heap_mb: Limit of an isolate's heap.
        buffer_mb: Limit of an isolate's typed arrays.
    """
    isolate = int(heap_mb * MB * HEAP_CEILING) + buffer_mb * MB + ISOLATE_OVERHEAD_BYTES
    own = V8_START_BYTES + KV_BYTES + ISOLATES * isolate
    return DedicatedLimits(
        address_space_bytes=vm_bytes + 2 * ISOLATES * ISOLATE_RESERVES_BYTES + own,
        data_bytes=data_bytes + own,
    )


def limit_process(start: Start) -> None:
    """Has the operating system hold this process to what its worker needs; V8 is initialised."""
    facts = apply_to_worker()
    if start.dedicated_to is not None:
        facts |= apply_to_dedicated_worker(start.settings.runtime.max_heap_mb, start.settings.runtime.max_buffer_mb)
    log.info("limits of the process: %s", facts, extra={"action": "os_limits"})


def apply_to_worker() -> dict[str, int | bool]:
    """Puts every worker's limits into force; gives what is, for the process log."""
    facts: dict[str, int | bool] = {}
    if _set(resource.RLIMIT_CORE, 0):
        facts["core_bytes"] = 0
    if sys.platform == "linux":
        facts["no_new_privs"] = ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    return facts


def apply_to_dedicated_worker(heap_mb: int, buffer_mb: int) -> dict[str, int | bool]:
    """Puts a dedicated worker's further limits into force, V8 being initialised; gives what is, for the process log."""
    if sys.platform != "linux":  # elsewhere reservations and private memory are counted differently, or not at all
        return {}
    limits = dedicated_limits(*_memory(), heap_mb=heap_mb, buffer_mb=buffer_mb)
    wanted = {
        "address_space_bytes": (resource.RLIMIT_AS, limits.address_space_bytes),
        "data_bytes": (resource.RLIMIT_DATA, limits.data_bytes),
        "open_files": (resource.RLIMIT_NOFILE, limits.open_files),
    }
    return {name: value for name, (which, value) in wanted.items() if _set(which, value)}


def _memory() -> tuple[int, int]:
    """This process's address space and private writable memory, in bytes."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return tuple(int(found[name].split()[0]) * 1024 for name in ("VmSize", "VmData"))  # type: ignore[return-value]


def _set(which: int, value: int) -> bool:
    """Lowers both limits to `value`; a hard limit below it stays."""
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(which, (value, value))
    except (ValueError, OSError) as exc:
        log.warning("a limit of the system could not be set: %s", exc, extra={"limit": which})
        return False
    return True

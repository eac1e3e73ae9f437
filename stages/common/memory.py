"""What fits into this machine's memory."""

import os
import resource
from contextlib import suppress
from pathlib import Path

from stages.common.errors import InputError

# A container's own limit, in both editions of Linux's control groups.
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_fits(n_bytes: int, key: str, why: str) -> None:
    """Refuses what could only end in the kernel's killing the process.

    Args:
        n_bytes: What is needed at least.
        key: Of params.yaml.
        why: What needs it, for the message.

    Raises:
        InputError: If this machine does not have so much memory, whatever else runs on it.
    """
    limit_bytes = memory_bytes()
    if n_bytes > limit_bytes:
        raise InputError(
            f"params.yaml: {key}: {why} needs at least {n_bytes / 2**30:.3g} GiB of memory; "
            f"{limit_bytes / 2**30:.3g} GiB are there"
        )


def memory_bytes() -> int:
    """The memory that this process could have at most."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft_limit != resource.RLIM_INFINITY:
        limits.append(soft_limit)
    for path in _CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # not there, or the word max
            limits.append(int(path.read_text(encoding="ascii")))
    return min(limits)

"""How much memory this machine has, and a check that something fits into it."""

import os
import resource
from contextlib import suppress
from pathlib import Path

from stages.common.errors import InputError

# A container's own limit, in versions 2 and 1 of Linux's control groups.
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_fits(n_bytes: int, key: str, why: str) -> None:
    """Refuses work that needs more memory than there is, before the kernel kills the process.

    Args:
        n_bytes: How much memory is needed at least.
        key: The key of params.yaml that asks for it, for the message.
        why: What needs the memory, for the message.

    Raises:
        InputError: If this machine does not have that much memory, even with nothing else running.
    """
    limit_bytes = memory_bytes()
    if n_bytes > limit_bytes:
        raise InputError(
            f"params.yaml: {key}: {why} needs at least {n_bytes / 2**30:.3g} GiB of memory; "
            f"there is only {limit_bytes / 2**30:.3g} GiB"
        )


def memory_bytes() -> int:
    """The most memory that this process could get."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft_limit != resource.RLIM_INFINITY:
        limits.append(soft_limit)
    for path in _CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # the file is missing, or says max
            limits.append(int(path.read_text(encoding="ascii")))
    return min(limits)

"""Free memory of the host."""

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def available(cgroup: Path = CGROUP) -> int:
    """Bytes that this process can still use without swapping; a container's limit (cgroup 2) counts."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:  # no cgroup 2, or the root's, which has no limit
        return free
    if limit == "max":
        return free
    # files in the page cache are counted as used, but are released when needed
    counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    return min(free, int(limit) - int(used) + int(counts.get("inactive_file", 0)))

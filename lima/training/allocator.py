"""Keep freed memory in the process for reuse (glibc malloc)."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameter numbers in <malloc.h>


def keep_freed_memory() -> None:
    """Configure glibc's malloc to keep freed memory and to allocate large blocks from the heap.

    By default each large tensor of a step is mapped, zeroed page by page by the kernel, and unmapped again. With other
    C libraries nothing changes.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)

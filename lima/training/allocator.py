"""Memory that is freed stays with the process, to be used again at once."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as <malloc.h> numbers them


def keep_freed_memory() -> None:
    """Tell glibc's malloc never to give memory back, nor to take large blocks from the system one by one.

    Else each of a step's large tensors is mapped, zeroed a page at a time by the kernel and unmapped again. Other C
    libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)

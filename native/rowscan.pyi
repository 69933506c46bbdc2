import numpy as np
from numpy.typing import NDArray

class Names:
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    def __init__(self, *names: str, numbers: tuple[str, ...] = (), texts: tuple[str, ...] = ()) -> None: ...

def lines(block: NDArray[np.uint8]) -> int: ...
def scan(
    block: NDArray[np.uint8], lines: int, names: Names
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int32]]: ...
def attributes(raw: bytes, names: Names | None = None) -> dict[str, str] | None: ...

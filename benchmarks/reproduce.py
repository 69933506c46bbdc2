"""What DVC adds: bringing up to date a graph in which nothing has changed."""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.claims import Claim, claim, in_turn


def measure() -> Iterator[Claim]:
    """`dvc repro` that does nothing, against importing torch once: what one needless stage would cost at least."""

    def nothing() -> None:
        subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)

    def one_import() -> None:
        subprocess.run([sys.executable, "-c", "import torch"], check=True)

    nothing()
    ours, peer = in_turn(nothing, one_import, pairs=5)
    yield claim("dvc repro that does nothing, against `import torch`", ours=ours, peer=peer, unit="s", target="≤ 2")

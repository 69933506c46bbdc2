"""A monthly file of Reddit, decompressed and searched for two subreddits, against decompressing it and nothing else."""

import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import zstandard

from benchmarks.claims import Claim, claim, in_turn
from lima.curation import hashing
from lima.sources import base
from lima.sources.reddit import reader

REAL, CORPUS = Path("../shared/realdata/reddit"), Path("corpus/dumps/reddit")
SIZE = 500_000_000  # bytes of text
LEVEL = 9  # the publishers' 22 takes a quarter of an hour here; a decoder hardly sees the difference
WANTED = base.Subreddits(answered=frozenset({"WritingPrompts"}), asked=frozenset({"AskReddit"}))
SHARE = 0.02  # of the lines that are of those two, about that of a month
OTHERS = [f"subreddit{number}" for number in range(300)]


def measure() -> Iterator[Claim]:
    if not shutil.which("zstd"):
        sys.exit("error: the command zstd is the peer of this benchmark and is not installed; apt-get install zstd")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "RS_month.zst"
        write(path, rows())
        megabytes = SIZE / 1e6

        def ours() -> None:
            shares = partial(hashing.fast_hash_uniforms, 0)
            early = base.Prefilter(min_response_score=0, reservoir=1, shares=shares, subreddits=WANTED)
            for _ in reader.read(path, source="x", license="", tally=base.ReadStats(), early=early):
                pass

        def decoder() -> None:
            subprocess.run(["zstd", "-dcq", "--long=31", path], stdout=subprocess.DEVNULL, check=True)

        def usual() -> None:
            with path.open("rb") as file:
                packed = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(file)
                for line in io.TextIOWrapper(packed, encoding="utf-8"):
                    json.loads(line)["subreddit"]

        for words, peer, target, pairs in (
            ("A month of Reddit searched, against zstd -dc --long=31 > /dev/null", decoder, "≥ 0.8", 7),
            ("A month of Reddit searched, against zstandard + TextIOWrapper + json.loads", usual, "≥ 4", 3),
        ):
            seconds = in_turn(ours, peer, pairs=pairs)
            yield claim(words, ours=megabytes / seconds[0], peer=megabytes / seconds[1], unit="MB/s", target=target)


def rows() -> list[dict[str, object]]:
    """Submissions and comments as they were dumped, or the shipped ones where no real file is there."""
    folder = REAL if REAL.exists() else CORPUS
    print(f"rows of {folder}, their words shuffled", file=sys.stderr)
    found = []
    for path in sorted(folder.glob("*.zst")):
        with path.open("rb") as file:
            text = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(file).read()
        lines = [line for line in text.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
        found += [row for line in lines if "subreddit" in (row := json.loads(line))]
    return found


def write(path: Path, found: list[dict[str, object]]) -> None:
    """SIZE bytes of them under new ids, each text in an order of its own, so that no line repeats another's."""
    rng = random.Random(17)
    parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, window_log=31, enable_ldm=True, threads=-1)
    with path.open("wb") as file, zstandard.ZstdCompressor(compression_params=parameters).stream_writer(file) as out:
        size = number = 0
        while size < SIZE:
            row = dict(rng.choice(found))
            for key in ("title", "selftext", "body"):
                if isinstance(text := row.get(key), str) and not text.startswith("["):
                    row[key] = " ".join(rng.sample(words := text.split(), len(words)))
            of = sorted(WANTED.names()) if rng.random() < SHARE else OTHERS
            row |= {"id": f"x{number}", "subreddit": rng.choice(of)}
            size += out.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
            number += 1

"""Coverage of 95 % intervals of win − lose, by method. `python -m benchmarks.coverage` writes it to the README.

One sample per prompt: exact, by enumeration of all outcomes. Five samples per prompt: simulated, with the outcomes of a
prompt drawn from a Dirichlet-multinomial distribution. Cells are sizes × shares of wins among the decided verdicts ×
shares of ties. Swapping the contestants mirrors every method, so shares above one half are not computed.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from lima.evaluation.statistics.estimates import two_sided_z
from lima.evaluation.statistics.proportions import clustered_score_bounds, score_bounds

Numbers = NDArray[np.float64]
Bounds = tuple[Numbers, Numbers]
Cells = dict[tuple[float, float], float]  # (share of wins, share of ties) → coverage

SIZES = (20, 30, 50, 300)  # prompts
SHARES = tuple(round(0.05 * step, 2) for step in range(1, 11))
TIES = (0.0, 0.2, 0.4, 0.6, 0.8)
SAMPLES = 5
CORRELATIONS = (0.2, 0.5)  # of two samples of one prompt
SIMULATIONS = {20: 10_000, 30: 10_000, 50: 6_000, 300: 4_000}
BOOTSTRAPPED = 300  # simulations of a cell for the percentile bootstrap
RESAMPLES = 400
TARGET = (0.93, 0.975)
Z = two_sided_z(0.95)
README = Path(__file__).parent / "README.md"
MARKS = ("<!-- coverage -->", "<!-- end of coverage -->")


@dataclass(frozen=True)
class Row:
    """Coverage of one method at one size, over all cells."""

    prompts: int
    samples: str
    method: str
    cells: Cells

    def outside(self) -> list[tuple[float, float]]:
        return [cell for cell, covered in self.cells.items() if not TARGET[0] <= covered <= TARGET[1]]


# --- one sample per prompt: exact ------------------------------------------------------------------------------------


def outcomes(prompts: int) -> tuple[Numbers, Numbers]:
    """All numbers of wins and losses."""
    wins, losses = np.meshgrid(np.arange(prompts + 1.0), np.arange(prompts + 1.0), indexing="ij")
    possible = wins + losses <= prompts
    return wins[possible], losses[possible]


def chances(prompts: int, wins: Numbers, losses: Numbers, share: float, ties: float) -> Numbers:
    """Multinomial probability of each outcome."""
    counts = np.stack([wins, losses, prompts - wins - losses])
    means = np.array([share * (1 - ties), (1 - share) * (1 - ties), ties])[:, None]
    return np.asarray(np.exp(gammaln(prompts + 1) + np.sum(xlogy(counts, means) - gammaln(counts + 1), axis=0)))


def bootstrap_distribution(prompts: int, wins: Numbers, losses: Numbers) -> Numbers:
    """Distribution of the resampled net, without simulation: shape (outcomes, 2·prompts + 1), from −prompts upwards.

    The generating function of one resampled verdict, lose + tie·x + win·x², to the power of `prompts`.
    """
    length = 2 * prompts + 1
    x = np.exp(-2j * np.pi * np.arange(length) / length)
    won, lost = wins[:, None] / prompts, losses[:, None] / prompts
    powers = (lost + (1 - won - lost) * x + won * x**2) ** prompts
    distribution = np.fft.ifft(powers, axis=1).real.clip(0)
    return np.asarray(distribution / distribution.sum(1, keepdims=True))


def bootstraps(prompts: int, wins: Numbers, losses: Numbers) -> tuple[Bounds, Bounds]:
    """Percentile and BCa bounds (Efron 1987) of a bootstrap with infinitely many resamples."""
    parts = max(1, len(wins) * (2 * prompts + 1) // 4_000_000)
    bounds = [_bootstraps(prompts, wins[rows], losses[rows]) for rows in np.array_split(np.arange(len(wins)), parts)]
    low, high, corrected_low, corrected_high = (np.concatenate(column) for column in zip(*bounds, strict=True))
    return (low, high), (corrected_low, corrected_high)


def _bootstraps(prompts: int, wins: Numbers, losses: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    distribution = bootstrap_distribution(prompts, wins, losses)
    cumulative = distribution.cumsum(1)
    rows, observed = np.arange(len(wins)), (wins - losses).astype(int) + prompts

    def quantile(level: Numbers) -> Numbers:
        return np.asarray(((cumulative < level[:, None] - 1e-12).sum(1) - prompts) / prompts)

    net, ties = (wins - losses) / prompts, prompts - wins - losses
    second = wins * (1 - net) ** 2 + losses * (1 + net) ** 2 + ties * net**2
    third = wins * (1 - net) ** 3 - losses * (1 + net) ** 3 - ties * net**3
    acceleration = np.where(second > 0, third / (6 * np.maximum(second, 1e-12) ** 1.5), 0)
    below = cumulative[rows, observed] - distribution[rows, observed] / 2
    bias = scipy.stats.norm.ppf(below.clip(1e-6, 1 - 1e-6))

    def level(z: float) -> Numbers:
        return np.asarray(scipy.stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))))

    tails = np.full(len(wins), 0.025)
    return quantile(tails), quantile(1 - tails), quantile(level(-Z)), quantile(level(Z))


def bonett_price(prompts: int, wins: Numbers, losses: Numbers) -> Bounds:
    """Adjusted Wald interval with one win and one loss added (Bonett & Price 2012)."""
    count = prompts + 2
    net = (wins - losses) / count
    reach = Z * np.sqrt(((wins + losses + 2) / count - net**2) / count)
    return net - reach, net + reach


def clopper_pearson(prompts: int, wins: Numbers, losses: Numbers) -> Bounds:
    """Exact binomial interval (Clopper & Pearson 1934) of the share (wins + ties/2); conservative with ties."""
    points = (prompts + wins - losses) / 2
    low = np.where(points > 0, scipy.stats.beta.ppf(0.025, np.maximum(points, 1e-9), prompts - points + 1), 0)
    high = np.where(points < prompts, scipy.stats.beta.ppf(0.975, points + 1, np.maximum(prompts - points, 1e-9)), 1)
    return 2 * low - 1, 2 * high - 1


def dirichlet(prompts: int, wins: Numbers, losses: Numbers, prior: float, draws: int = 1000) -> Bounds:
    """Equal-tailed posterior interval under a Dirichlet prior, by simulation."""
    rng, bounds = np.random.default_rng(1), []
    for rows in np.array_split(np.arange(len(wins)), max(1, len(wins) // 1000)):
        counts = np.stack([wins[rows], losses[rows], prompts - wins[rows] - losses[rows]])
        posterior = rng.standard_gamma(np.broadcast_to((counts + prior)[..., None], (*counts.shape, draws)))
        bounds.append(np.quantile((posterior[0] - posterior[1]) / posterior.sum(0), [0.025, 0.975], axis=1))
    low, high = np.concatenate(bounds, axis=1)
    return low, high


def exact_rows(prompts: int) -> Iterator[Row]:
    wins, losses = outcomes(prompts)
    percentile, corrected = bootstraps(prompts, wins, losses)
    methods: dict[str, Callable[[], Bounds]] = {
        "percentile bootstrap": lambda: percentile,
        "BCa bootstrap": lambda: corrected,
        "Bonett–Price": lambda: bonett_price(prompts, wins, losses),
        "exact (Clopper–Pearson)": lambda: clopper_pearson(prompts, wins, losses),
        "Dirichlet, prior 1": lambda: dirichlet(prompts, wins, losses, 1.0),
        "Dirichlet, prior ½": lambda: dirichlet(prompts, wins, losses, 0.5),
        "score (used)": lambda: score_bounds(wins, losses, np.full(len(wins), float(prompts)), z=Z),
    }
    weights = {(share, ties): chances(prompts, wins, losses, share, ties) for share in SHARES for ties in TIES}
    for name, method in methods.items():
        if name.startswith("Dirichlet") and prompts > 50:
            continue  # 45,000 posteriors; the methods agree at this size
        low, high = method()
        cells = {cell: float(weight[covers(low, high, *cell)].sum()) for cell, weight in weights.items()}
        yield Row(prompts, "1", name, cells)


def covers(low: Numbers, high: Numbers, share: float, ties: float) -> NDArray[np.bool_]:
    truth = (2 * share - 1) * (1 - ties)
    return np.asarray((low <= truth + 1e-9) & (truth - 1e-9 <= high))


# --- several samples per prompt: simulated ---------------------------------------------------------------------------


def simulate(
    rng: np.random.Generator, simulations: int, prompts: int, share: float, ties: float, correlation: float
) -> tuple[Numbers, Numbers]:
    """Wins and losses of each prompt, shape (simulations, prompts)."""
    means = np.array([share * (1 - ties), (1 - share) * (1 - ties), ties]) * (1 - correlation) / correlation
    shape = (simulations, prompts)
    won, lost = (np.maximum(rng.standard_gamma(mean, shape), 1e-300) for mean in means[:2])
    tied = np.maximum(rng.standard_gamma(means[2], shape), 1e-300) if ties else np.zeros(shape)
    total = won + lost + tied
    wins = rng.binomial(SAMPLES, won / total)
    losses = rng.binomial(SAMPLES - wins, np.minimum(lost / np.maximum(lost + tied, 1e-300), 1))
    return wins.astype(float), losses.astype(float)


def clustered_bonett_price(wins: Numbers, losses: Numbers) -> Bounds:
    """Bonett–Price on the prompts' means: one prompt with net 1 and one with net −1 are added."""
    nets = (wins - losses) / SAMPLES
    count = nets.shape[-1] + 2
    net = nets.sum(-1) / count
    reach = Z * np.sqrt(((np.sum(nets**2, axis=-1) + 2) / count - net**2) / count)
    return net - reach, net + reach


def clustered_t(wins: Numbers, losses: Numbers) -> Bounds:
    """Student's t interval of the prompts' means."""
    nets = (wins - losses) / SAMPLES
    prompts = nets.shape[-1]
    reach = scipy.stats.t.ppf(0.975, prompts - 1) * nets.std(-1, ddof=1) / np.sqrt(prompts)
    return nets.mean(-1) - reach, nets.mean(-1) + reach


def clustered_percentile(rng: np.random.Generator, wins: Numbers, losses: Numbers) -> Bounds:
    """Percentile interval of a cluster bootstrap, with the same resamples for all simulations."""
    nets = (wins - losses)[:BOOTSTRAPPED] / SAMPLES
    prompts = nets.shape[-1]
    weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES) / prompts
    low, high = np.quantile(nets @ weights.T, [0.025, 0.975], axis=1)
    return low, high


def simulated_rows(prompts: int, correlation: float) -> Iterator[Row]:
    rng = np.random.default_rng([prompts, round(100 * correlation)])
    cells: dict[str, Cells] = {}
    for share in SHARES:
        for ties in TIES:
            wins, losses = simulate(rng, SIMULATIONS[prompts], prompts, share, ties, correlation)
            sizes = np.full(wins.shape, float(SAMPLES))
            low, high, _ = clustered_score_bounds(wins, losses, sizes, z=Z)
            bounds = {
                "percentile bootstrap": clustered_percentile(rng, wins, losses),
                "t of the prompts' means": clustered_t(wins, losses),
                "Bonett–Price": clustered_bonett_price(wins, losses),
                "score (used)": (low, high),
            }
            for name, bound in bounds.items():
                cells.setdefault(name, {})[share, ties] = float(np.mean(covers(*bound, share, ties)))
    for name, covered in cells.items():
        yield Row(prompts, f"{SAMPLES}, r = {correlation}", name, covered)


# --- tables ----------------------------------------------------------------------------------------------------------


def summary(rows: list[Row]) -> Iterator[str]:
    yield "| prompts | samples | method | lowest | mean | highest | cells below .93 | cells above .975 |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        covered = np.array(list(row.cells.values()))
        low, high = np.mean(covered < TARGET[0]), np.mean(covered > TARGET[1])
        yield (
            f"| {row.prompts} | {row.samples} | {row.method} | {covered.min():.3f} | {covered.mean():.3f} "
            f"| {covered.max():.3f} | {low:.0%} | {high:.0%} |"
        )


def exceptions(rows: list[Row]) -> Iterator[str]:
    """Cells of the method in use outside the target, with the closest method there."""
    yield "| prompts | samples | share of wins | ties | score | closest method |"
    yield "|---|---|---|---|---|---|"
    for row in (row for row in rows if row.method.startswith("score")):
        peers = [peer for peer in rows if (peer.prompts, peer.samples) == (row.prompts, row.samples)]
        for cell in row.outside():
            closest = min(peers, key=lambda peer: excess(peer.cells[cell]))
            yield (
                f"| {row.prompts} | {row.samples} | {cell[0]} | {cell[1]} | {row.cells[cell]:.4f} "
                f"| {closest.method}: {closest.cells[cell]:.4f} |"
            )


def excess(covered: float) -> float:
    """Distance from the target range, then from 0.95."""
    return max(TARGET[0] - covered, covered - TARGET[1], 0) + 1e-3 * abs(covered - 0.95)


def every_cell(rows: list[Row]) -> Iterator[str]:
    """Coverage of the method in use: a line per size and share of ties, a column per share of wins."""
    yield "| prompts | samples | ties | " + " | ".join(f"{share:.2f}" for share in SHARES) + " |"
    yield "|---|---|---|" + "---|" * len(SHARES)
    for row in (row for row in rows if row.method.startswith("score")):
        for ties in TIES:
            covered = " | ".join(f"{row.cells[share, ties]:.3f}" for share in SHARES)
            yield f"| {row.prompts} | {row.samples} | {ties} | {covered} |"


def all_rows() -> Iterator[Row]:
    for prompts in SIZES:
        yield from exact_rows(prompts)
        for correlation in CORRELATIONS:
            yield from simulated_rows(prompts, correlation)


def main() -> None:
    start = time.perf_counter()
    rows = list(all_rows())
    parts = [list(summary(rows)), list(exceptions(rows)), list(every_cell(rows))]
    titles = (
        "Summary",
        "Cells of the score interval outside .93 to .975",
        "All cells of the score interval, by share of wins",
    )
    text = "\n\n".join(f"{title}:\n\n" + "\n".join(lines) for title, lines in zip(titles, parts, strict=True))
    print(text)
    before, rest = README.read_text(encoding="utf-8").split(MARKS[0])
    README.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} s; written to {README}", file=sys.stderr)


if __name__ == "__main__":
    main()

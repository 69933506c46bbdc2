"""Budgets in calls, tokens and money: a request is sent only if the budget holds even if its response is the longest.

The expected amount of a request is reserved before it is sent and replaced by the actual amount afterwards. If running
requests have reserved what is left, a new request waits for them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lima.chat_types import ChatRequest, max_completion_tokens, prompt_tokens
from lima.config.entries import Prices
from lima.config.sections import Budget
from lima.records import Usage

MILLION = 1_000_000
UNLIMITED_COMPLETION = 1024  # tokens expected of a request without a token limit


@dataclass(frozen=True)
class Amount:
    """Calls, tokens and money, spent or expected."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # 0 without prices

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )


def cost(prices: Prices | None, prompt: int | None, completion: int | None) -> float | None:
    """Return the cost of a request; None without prices or without token counts."""
    if prices is None or prompt is None or completion is None:
        return None
    return (prompt * prices.prompt + completion * prices.completion) / MILLION


def priced(usage: Usage, prices: Prices | None) -> Usage:
    """Return the usage with its cost at these prices; unchanged without prices or token counts."""
    amount = cost(prices, usage.prompt_tokens, usage.completion_tokens)
    return usage if amount is None else usage.model_copy(update={"cost": amount})


def expected(request: ChatRequest, prices: Prices | None) -> Amount:
    """Estimate one call: the prompt's tokens, and a response as long as the request allows."""
    prompt, limit = prompt_tokens(request), max_completion_tokens(request)
    completion = UNLIMITED_COMPLETION if limit is None else limit
    return Amount(1, prompt, completion, cost(prices, prompt, completion) or 0.0)


class Spending:
    """What a stage has spent, with its budget.

    Args:
        budget: the limits.
        setting: name of the parameter, for messages.
        add: adds an amount to the persistent total and returns the new total.
        total: spent so far, in earlier runs.
    """

    def __init__(self, budget: Budget, *, setting: str, add: Callable[[Amount], Amount], total: Amount) -> None:
        self._budget = budget
        self._setting = setting
        self._add = add
        self._total = total
        self._reserved = Amount()
        self._changed = asyncio.Event()

    async def reserve(self, amount: Amount) -> str | None:
        """Reserve the amount of a request. Returns the reason if the budget does not allow it."""
        while (reason := self._exceeded(amount)) and self._reserved.calls:
            self._changed.clear()
            await self._changed.wait()
        if reason:
            return reason
        self._reserved += amount
        return None

    def settle(self, reserved: Amount, actual: Amount | None) -> None:
        """Replace a reserved amount by the actual one; None if the request was not sent."""
        negative = Amount(-reserved.calls, -reserved.prompt_tokens, -reserved.completion_tokens, -reserved.cost)
        self._reserved += negative
        if actual:
            self._total = self._add(actual)
        self._changed.set()

    def _exceeded(self, amount: Amount) -> str | None:
        sum_, limits = self._total + self._reserved + amount, self._budget
        for name, limit, used, spent in (
            ("calls", limits.calls, sum_.calls, self._total.calls),
            ("tokens", limits.tokens, sum_.tokens, self._total.tokens),
            ("cost", limits.cost, sum_.cost, self._total.cost),
        ):
            if limit is not None and used > limit:
                return (
                    f"budget used up: {self._setting}.{name} is {limit:g} and {spent:g} are spent; raise it in "
                    "params.yaml and run the stage again"
                )
        return None

"""The errors of Farthing: each says what was wrong, where, and what to do."""

from __future__ import annotations


class FarthingError(Exception):
    """Base of every error that Farthing raises on purpose."""


class MoneyError(FarthingError):
    """An amount that is not exact money: NaN, infinite, or finer than a picodollar."""


class UsageError(FarthingError):
    """Token counters that contradict each other."""


class ConfigError(FarthingError):
    """A mistake in a configuration file.

    Attributes:
        path: the file, as the user named it.
        key: dotted path of the offending key, if there is one.
        line: line number in the file, counted from 1, if known.
    """

    def __init__(
        self, message: str, *, path: str = "", key: str = "", line: int | None = None
    ) -> None:
        self.path, self.key, self.line = path, key, line
        where = path + (f":{line}" if line else "")
        prefix = ": ".join(part for part in (where, key) if part)
        super().__init__(f"{prefix}: {message}" if prefix else message)


class DataError(FarthingError):
    """A recording that cannot be used as asked."""


class PlanError(FarthingError):
    """A plan file that cannot be read, or does not fit what it is applied to."""


class ParamError(PlanError):
    """A parameter of a policy that is wrong.

    Attributes:
        place: where it stands in the parameters, such as ("stages", "[1]", "accept").
    """

    def __init__(self, message: str, *, place: tuple[str, ...] = ()) -> None:
        self.place = place
        super().__init__(message)


class CalibrationError(PlanError):
    """Too few calibration questions for the certificate asked for.

    Attributes:
        needed: the least number of questions that would do.
        given: the number there was.
    """

    def __init__(self, message: str, *, needed: int, given: int) -> None:
        self.needed, self.given = needed, given
        super().__init__(message)


class InfeasibleError(PlanError):
    """No plan keeps the budget.

    Attributes:
        feasible_budget_usd: the least budget found at which a plan is certified, as a
            decimal string; None if none was found.
    """

    def __init__(self, message: str, *, feasible_budget_usd: str | None) -> None:
        self.feasible_budget_usd = feasible_budget_usd
        super().__init__(message)


class ExtraError(FarthingError):
    """A package that is not installed, because it belongs to an extra."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'farthing[{extra}]'")


class RequestError(FarthingError):
    """A request that cannot be answered as asked; the client must change it.

    Attributes:
        param: the request's field at fault, if one is.
        code: short machine-readable reason, in OpenAI's style.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        self.param, self.code = param, code
        super().__init__(message)


class UnknownModelError(RequestError):
    """A model or plan name that nothing answers to."""

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model", code="model_not_found")


class UpstreamError(FarthingError):
    """A model that failed to answer.

    Attributes:
        model: the model called.
        status: HTTP status of the upstream, None when there was none.
        kind: "unreachable", "timeout", "status", "malformed" or "cut".
        body: the upstream's own error object, where it sent one.
        retry_after_s: seconds after which it wants to be asked again; None if it did not say.
        shown: whether a part of its answer has been shown, so that no other can take its place.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str,
        kind: str,
        status: int | None = None,
        body: object | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.model, self.kind, self.status, self.body = model, kind, status, body
        self.retry_after_s, self.shown = retry_after_s, False
        super().__init__(message)

    @property
    def is_free(self) -> bool:
        """Whether no vendor bills such a call: it was not reached, or refused it at the door.

        A request that was wrong, one too many (429), or more than there is capacity for (503, 529)
        is refused before anything is computed. Other failures may have come after that.
        """
        if self.kind != "status":
            return self.kind == "unreachable"
        status = self.status or 0
        return (400 <= status < 500 and status != 408) or status in (503, 529)


class RestingError(UpstreamError):
    """A model that was not called, because all its upstreams failed lately and are left alone."""

    def __init__(self, message: str, *, model: str, retry_after_s: float) -> None:
        super().__init__(message, model=model, kind="unreachable", retry_after_s=retry_after_s)


class BudgetError(FarthingError):
    """What a budget does not allow."""


class CapError(BudgetError):
    """A call that was not made, because its operation has used up its cap."""


class LedgerError(FarthingError):
    """A ledger that cannot be read or written."""


class LedgerAwayError(LedgerError):
    """A ledger that cannot be reached or written for now; nothing was called, nothing is lost."""

"""Plans by their names, and those that a name alone describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farthing.gateway.service import ServedPlan


class NamedPlans(dict[str, "ServedPlan"]):
    """Plans by name; what it has not, `make` may make of the name: such are in no listing."""

    def __init__(
        self, plans: Mapping[str, ServedPlan], make: Callable[[str], ServedPlan | None]
    ) -> None:
        super().__init__(plans)
        self._make = make
        self._made: dict[str, ServedPlan] = {}

    def __missing__(self, name: str) -> ServedPlan:
        plan = self._made.get(name) or self._make(name)
        if plan is None:
            raise KeyError(name)
        self._made[name] = plan
        return plan

    def get(self, name: str, default: Any = None) -> Any:
        """The plan of that name, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self.get(name) is not None)

    def with_plans(
        self,
        plans: Mapping[str, ServedPlan],
        change: Callable[[ServedPlan], ServedPlan] = lambda plan: plan,
    ) -> NamedPlans:
        """`plans` in place of those that are listed, `change` of those that a name describes."""

        def make(name: str) -> ServedPlan | None:
            plan = self._make(name)
            return None if plan is None else change(plan)

        return NamedPlans(plans, make)

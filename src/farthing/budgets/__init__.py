"""Operations: requests in flight, whose every call is priced, bounded and booked."""

from farthing.budgets.attempt import Attempt
from farthing.budgets.drains import Drains, drain_all, drains
from farthing.budgets.operation import Operation
from farthing.budgets.refused import refuse

__all__ = ["Attempt", "Drains", "Operation", "drain_all", "drains", "refuse"]

"""How one request is answered; one module a policy."""

from farthing.policies.cascade import Cascade, Stage
from farthing.policies.cheapest import Cheapest
from farthing.policies.fallback import Fallback
from farthing.policies.registry import from_params
from farthing.policies.single import Single

__all__ = ["Cascade", "Cheapest", "Fallback", "Single", "Stage", "from_params"]

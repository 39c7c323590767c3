"""The policies that buy quality at request time, by their kinds.

Each has `asks`, the models that it may call, the strongest last; and, where it holds policies,
`parts`, these.
"""

from __future__ import annotations

from typing import Any

from farthing.policies.ttc.astar import AStar
from farthing.policies.ttc.bavt import BAVT
from farthing.policies.ttc.beam import Beam
from farthing.policies.ttc.particles import Particles
from farthing.policies.ttc.power_mcmc import PowerMCMC
from farthing.policies.ttc.power_scalable import PowerScalable
from farthing.policies.ttc.power_smc import PowerSMC
from farthing.policies.ttc.treebon import TreeBoN
from farthing.policies.ttc.vote import SelfConsistency

TTC: dict[str, Any] = {
    policy.kind: policy
    for policy in (
        SelfConsistency,
        Particles,
        Beam,
        AStar,
        BAVT,
        TreeBoN,
        PowerMCMC,
        PowerSMC,
        PowerScalable,
    )
}

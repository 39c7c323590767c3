"""The policies that buy quality at request time, by their kinds.

Each has `asks`, the models that it may call, the strongest last; and, where it holds policies,
`parts`, these.
"""

from __future__ import annotations

from typing import Any

from farthing.policies.its_hub.policy import ItsHub
from farthing.policies.ttc.astar import AStar
from farthing.policies.ttc.bavt import BAVT
from farthing.policies.ttc.beam import Beam
from farthing.policies.ttc.best_of_n import BestOfN
from farthing.policies.ttc.brainstorm import Brainstorm
from farthing.policies.ttc.chain import Chain
from farthing.policies.ttc.concise import Concise
from farthing.policies.ttc.effort import Effort
from farthing.policies.ttc.mixture_of_agents import MixtureOfAgents
from farthing.policies.ttc.optscale import OptScale
from farthing.policies.ttc.particles import Particles
from farthing.policies.ttc.power_mcmc import PowerMCMC
from farthing.policies.ttc.power_scalable import PowerScalable
from farthing.policies.ttc.power_smc import PowerSMC
from farthing.policies.ttc.refine import Refine
from farthing.policies.ttc.self_evaluated import SelfEvaluated
from farthing.policies.ttc.short import Short
from farthing.policies.ttc.thought_graph import ThoughtGraph
from farthing.policies.ttc.treebon import TreeBoN
from farthing.policies.ttc.vote import SelfConsistency
from farthing.policies.ttc.zip_rc import ZipRC

TTC: dict[str, Any] = {
    policy.kind: policy
    for policy in (
        SelfConsistency,
        Short,
        BestOfN,
        OptScale,
        Effort,
        Concise,
        Refine,
        Brainstorm,
        MixtureOfAgents,
        Chain,
        Particles,
        Beam,
        AStar,
        BAVT,
        TreeBoN,
        ThoughtGraph,
        PowerMCMC,
        PowerSMC,
        PowerScalable,
        SelfEvaluated,
        ZipRC,
        ItsHub,
    )
}

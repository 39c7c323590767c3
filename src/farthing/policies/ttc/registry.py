"""The policies that buy quality at request time, by their kinds.

Each has `asks`, the models that it may call, the strongest last; and, where it holds policies,
`parts`, these.
"""

from __future__ import annotations

from typing import Any

TTC: dict[str, Any] = {policy.kind: policy for policy in ()}

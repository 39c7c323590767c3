"""Results of policies in a folder, so that a long run that was broken off can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from zipfile import BadZipFile

import numpy as np

from farthing.bench.compute.results import Asked, Judged
from farthing.core.errors import DataError
from farthing.core.files import whole


def open_folder(folder: Path) -> None:
    """Make it where it is not there; DataError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{folder}: no folder to write to: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the results of one policy are kept.

    Attributes:
        folder: see `open_folder`.
        name: of the policy.
        setting: all that its results depend on; other settings have other files.
    """

    folder: Path
    name: str
    setting: Mapping[str, Any]

    def find(self) -> list[Judged] | None:
        """The policy at each budget; None if nothing was kept.

        DataError for a file that cannot be read.
        """
        path = self.path
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                unanswered = arrays["unanswered"].tolist()
                budgets = arrays["budgets"].tolist()
                columns = {
                    key.removeprefix("column/"): arrays[key]
                    for key in arrays
                    if key.startswith("column/")
                }
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise DataError(f"{path}: not results of a policy: {error}; remove it") from error
        return [
            Judged(
                self.name, budget, Asked({key: all_[at] for key, all_ in columns.items()}, share)
            )
            for at, (budget, share) in enumerate(zip(budgets, unanswered, strict=True))
        ]

    def put(self, judged: Sequence[Judged]) -> None:
        """Keep them; DataError if they cannot be written."""
        asked = [one.asked for one in judged]
        columns: dict[str, Any] = {
            f"column/{key}": np.stack([one.columns[key] for one in asked])
            for key in asked[0].columns
        }
        with whole(self.path, by=f".{os.getpid()}") as part, part.open("wb") as file:
            np.savez_compressed(
                file,
                unanswered=[one.unanswered for one in asked],
                budgets=[one.budget or 0 for one in judged],
                **columns,
            )

    @property
    def path(self) -> Path:
        """Of the file, whether or not it is there."""
        whole = json.dumps([self.name, self.setting], sort_keys=True, default=str)
        plain = "".join(letter if letter.isalnum() else "-" for letter in self.name)
        return self.folder / f"{plain}-{sha256(whole.encode()).hexdigest()[:12]}.npz"

"""All defences, in the order of the hazards of docs/hazards.md."""

from __future__ import annotations

from tests.hazards.files import FILES
from tests.hazards.galleries import GALLERIES
from tests.hazards.makers import MAKERS
from tests.hazards.runtime import RUNTIME
from tests.hazards.training import TRAINING
from tests.hazards.upgrades import UPGRADES
from tests.hazards.vectors import VECTORS

DEFENCES = (*RUNTIME, *GALLERIES, *UPGRADES, *TRAINING, *MAKERS, *FILES, *VECTORS)

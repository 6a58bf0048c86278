"""The configurations of models, and the tables that they are made of, by one name."""

from __future__ import annotations

from compat_train.config.checks import check_choice, check_range
from compat_train.config.gallery import GalleryConfig
from compat_train.config.method_terms import AnyMethod, QueryMethod
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source
from compat_train.config.query import Inheritance, QueryConfig, Selection, Start, Unseen
from compat_train.config.scenario import Scenario
from compat_train.config.settings import config_from_json, config_from_mapping, config_to_json

__all__ = [
    "AnyMethod",
    "Augmentation",
    "Classification",
    "Execution",
    "GalleryConfig",
    "Inheritance",
    "Optimisation",
    "QueryConfig",
    "QueryMethod",
    "Scenario",
    "Selection",
    "Source",
    "Start",
    "Unseen",
    "check_choice",
    "check_range",
    "config_from_json",
    "config_from_mapping",
    "config_to_json",
]

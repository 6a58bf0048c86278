"""Server side: trains gallery models and the query models that may search their galleries, and judges them.

Importing this package loads no torch; each name is loaded when it is first used. What the names are told, the
configurations, comes first; then what trains, what judges, and what both leave behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_sdk.door import door

if TYPE_CHECKING:
    from compat_train.adoption.adopt import Adoption, adopt
    from compat_train.adoption.found import Wanted
    from compat_train.config.gallery import GalleryConfig
    from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source
    from compat_train.config.query import QueryConfig
    from compat_train.config.scenario import Scenario
    from compat_train.config.upgrade import SideInfoConfig, UpgradeConfig
    from compat_train.evaluation.evaluate import evaluate
    from compat_train.evaluation.evaluate_upgrade import UpgradeEvaluation, evaluate_upgrade
    from compat_train.evaluation.result import Evaluation
    from compat_train.methods.gallery import train_gallery
    from compat_train.methods.query import train_query
    from compat_train.methods.side_info import train_side_info
    from compat_train.methods.uncertainty import log_variances, train_uncertainty
    from compat_train.methods.upgrade import train_upgrade
    from compat_train.nas.cmp.config import CmpConfig
    from compat_train.nas.cmp.run import search_query_models
    from compat_train.nas.global_nas.config import GlobalConfig
    from compat_train.nas.global_nas.run import search_network
    from compat_train.recipe import Recipe, read_recipe
    from compat_train.recipe_run import run_recipe
    from compat_train.runs.checkpoint import Checkpoint
    from compat_train.runs.transform_run import TransformRun

__all__ = [
    "Adoption",
    "Augmentation",
    "Checkpoint",
    "Classification",
    "CmpConfig",
    "Evaluation",
    "Execution",
    "GalleryConfig",
    "GlobalConfig",
    "Optimisation",
    "QueryConfig",
    "Recipe",
    "Scenario",
    "SideInfoConfig",
    "Source",
    "TransformRun",
    "UpgradeConfig",
    "UpgradeEvaluation",
    "Wanted",
    "adopt",
    "evaluate",
    "evaluate_upgrade",
    "log_variances",
    "read_recipe",
    "run_recipe",
    "search_network",
    "search_query_models",
    "train_gallery",
    "train_query",
    "train_side_info",
    "train_uncertainty",
    "train_upgrade",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "Adoption": "adoption.adopt",
        "Augmentation": "config.parts",
        "Checkpoint": "runs.checkpoint",
        "Classification": "config.parts",
        "CmpConfig": "nas.cmp.config",
        "Evaluation": "evaluation.result",
        "Execution": "config.parts",
        "GalleryConfig": "config.gallery",
        "GlobalConfig": "nas.global_nas.config",
        "Optimisation": "config.parts",
        "QueryConfig": "config.query",
        "Recipe": "recipe",
        "Scenario": "config.scenario",
        "SideInfoConfig": "config.upgrade",
        "Source": "config.parts",
        "TransformRun": "runs.transform_run",
        "UpgradeConfig": "config.upgrade",
        "UpgradeEvaluation": "evaluation.evaluate_upgrade",
        "Wanted": "adoption.found",
        "adopt": "adoption.adopt",
        "evaluate": "evaluation.evaluate",
        "evaluate_upgrade": "evaluation.evaluate_upgrade",
        "log_variances": "methods.uncertainty",
        "read_recipe": "recipe",
        "run_recipe": "recipe_run",
        "search_network": "nas.global_nas.run",
        "search_query_models": "nas.cmp.run",
        "train_gallery": "methods.gallery",
        "train_query": "methods.query",
        "train_side_info": "methods.side_info",
        "train_uncertainty": "methods.uncertainty",
        "train_upgrade": "methods.upgrade",
    },
)

"""Settings of a query model that its method has no use for: refused, since they would be ignored."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from compat_sdk.errors import ConfigError
from compat_train.config.method_terms import OF_BANK, OF_VECTORS

if TYPE_CHECKING:
    from compat_train.config.query import QueryConfig

_SETTINGS_OF = {
    "centring": OF_VECTORS,
    "bank": OF_BANK,
    "similarity_temperature": OF_BANK,
    "gallery_temperature": ("csd",),
    "aml_margin": ("aml",),
    "sampling_rate": ("own", "gallery", "adaptation"),
}
"""Terms that each setting is about."""


def refuse_unused(config: QueryConfig) -> None:
    """Refuse what is set and goes unused.

    Raises:
        ConfigError: A weight is set though the method chooses it itself, a setting of the selection goes with none, or
            a setting is about terms that have no weight.
    """
    if config.method == "auto":
        _refuse_under_auto(config)
        return
    _refuse_selection(config)
    _refuse_of_absent_terms(config)


def _refuse_selection(config: QueryConfig) -> None:
    if config.method != "dmu" and config.selecting != "uniform":
        raise ConfigError(f"selection is {config.selecting!r} and method {config.method!r}; it needs method 'dmu'")
    if config.selecting == "uniform" and (config.selection_scale != 1.0 or config.selection_temperature != 1.0):
        raise ConfigError("selection 'uniform' has no scale and no temperature; leave both out")
    if config.selecting == "certainty" and config.selection_temperature != 1.0:
        raise ConfigError("selection 'certainty' has no softmax over the batch; leave selection_temperature out")
    if config.selecting != "uniform" and config.mixed:
        raise ConfigError("mixed images have no weights under dmu's selection; leave mixed out, or select 'uniform'")
    if config.unseen not in (None, "skip") and not config.term_weights["gallery"]:
        raise ConfigError(
            f"unseen is {config.unseen!r}, which is about the loss under the gallery model's classifier, and that has "
            f"weight 0 here; leave unseen out, or set gallery_term above 0"
        )


def _refuse_under_auto(config: QueryConfig) -> None:
    for name, weight in config.weights_apart().items():
        if weight is not None:
            key = "gallery_term" if name == "gallery" else name
            raise ConfigError(
                f"{key} is {weight:g}, but method 'auto' chooses the weights itself; leave it out, or name a method",
                setting=key,
            )
    for key in ("mixed", "selection", "unseen", "centring"):
        if (value := getattr(config, key)) not in (None, False):
            raise ConfigError(
                f"{key} is {value!r}, which method 'auto' may have no use for; leave it out, or name a method",
                setting=key,
            )


def _refuse_of_absent_terms(config: QueryConfig) -> None:
    weights = config.term_weights
    if config.centred and weights["adaptation"]:
        raise ConfigError(
            "centring is on, and adaptation trains psi towards vectors that still lack the mean; leave one out",
            setting="centring",
        )
    if (config.sampling_rate or 1) < 1 and (weights["kd"] or weights["alignment"]):
        raise ConfigError(
            f"sampling_rate is {config.sampling_rate:g}, and distillation and alignment look at every class; leave it "
            f"out, or set kd and alignment to 0",
            setting="sampling_rate",
        )
    defaults = {entry.name: entry.default for entry in fields(config)}
    for key, terms in _SETTINGS_OF.items():
        value = getattr(config, key)
        if key == "centring" and weights["gallery"] and config.unseen == "all-prototypes":
            continue  # class means are vectors too
        if value != defaults[key] and not any(weights[name] for name in terms):
            raise ConfigError(
                f"{key} is {value!r}, but the terms that it is about, {' and '.join(terms)}, have weight 0 here; leave "
                f"it out, or choose a method that has them",
                setting=key,
            )

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
    "adaptation_loss": ("adaptation",),
    "through": ("adaptation",),
    "sampling_rate": ("own", "gallery", "adaptation"),
}
"""Terms that each setting is about."""


def refuse_unused(config: QueryConfig) -> None:
    """Refuse what is set and goes unused.

    Raises:
        ConfigError: A weight is set though the method chooses it itself, a setting of the selection goes with none,
            a setting is about terms that have no weight, published weights would be replaced, or held-out images would
            not be looked at.
    """
    if config.weights is not None and config.inheritance != "none":
        raise ConfigError(
            f"weights is given, but the starting weights come from the gallery model (method {config.method!r}, "
            f"inherit {config.inherit!r}); leave one of them out"
        )
    if config.held_out and not config.watch:
        raise ConfigError("held_out sets images apart to be watched, and watch is 0; leave one out", setting="held_out")
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
    if config.method == "unibct" and config.unseen not in (None, "refined-prototypes"):
        raise ConfigError(
            f"unseen is {config.unseen!r}, and method 'unibct' is refined prototypes; leave it out, or choose 'bct'",
            setting="unseen",
        )
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
    for key in ("mixed", "selection", "unseen", "centring", "through", "embedded_by"):
        if (value := getattr(config, key)) not in (None, False, ()):
            raise ConfigError(
                f"{key} is {value!r}, which method 'auto' may have no use for; leave it out, or name a method",
                setting=key,
            )


def _refuse_of_absent_terms(config: QueryConfig) -> None:
    weights = config.term_weights
    if config.mixed and not weights["regression"]:
        raise ConfigError(
            "mixed images carry no labels, so they need the regression term; set regression above 0 or choose method "
            "'regression' or 'bct-regression'"
        )
    if bool(config.through) != (config.embedded_by is not None):
        raise ConfigError(
            "through names the transforms of an upgraded gallery, and embedded_by the model that embedded it before "
            "them; set both or neither",
            setting="through",
        )
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
        if key == "centring" and weights["gallery"] and config.of_prototypes:
            continue  # class means are vectors too
        if value != defaults[key] and not any(weights[name] for name in terms):
            raise ConfigError(
                f"{key} is {value!r}, but the terms that it is about, {' and '.join(terms)}, have weight 0 here; leave "
                f"it out, or choose a method that has them",
                setting=key,
            )

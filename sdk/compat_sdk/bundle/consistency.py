"""What a manifest says of its model goes together: role, ports of its graphs, identity and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_sdk.certificate import Certificate
from compat_sdk.errors import ConfigError
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_sdk.shown import shown_value
from compat_sdk.space import covers_all
from compat_sdk.transform_identity import TransformIdentity

if TYPE_CHECKING:
    from compat_sdk.bundle.manifest import Manifest


def require_consistent(manifest: Manifest) -> None:
    """Return only if what a manifest says does not contradict itself, each value being in its range.

    Raises:
        ConfigError: Something does not go with the role, the name of the space is the digest of something else, or a
            certificate is of another model.
    """
    _check_role(manifest)
    _check_identity(manifest)
    _check_certificates(manifest)


def _check_role(manifest: Manifest) -> None:
    """Refuse what does not go with the role."""
    if manifest.searches and manifest.role not in ("query", "gallery"):
        raise ConfigError(
            f"a {manifest.role} model searches {list(manifest.searches)}; expected none: only query and gallery models "
            f"do"
        )
    taken: tuple[str, ...] | None = None
    if manifest.role == "transform":
        if manifest.source is None or manifest.preprocessing is not None:
            raise ConfigError("a transform takes vectors; expected a source and no preprocessing")
        taken = manifest.source.inputs
        manifest.source.to(manifest.space, manifest.dim)  # refuses what does not go together
    elif manifest.source is not None or not isinstance(manifest.preprocessing, Preprocessing):
        raise ConfigError(f"a {manifest.role} model takes images; expected preprocessing and no source")
    for graph in manifest.graphs:
        if len(graph.inputs) != 1 if taken is None else graph.inputs != taken:
            wanted = "one, the image" if taken is None else ", ".join(taken)
            raise ConfigError(f"graph {graph.file} has the inputs {', '.join(graph.inputs)}; expected {wanted}")
        if taken is not None and (graph.layout, graph.values) != ("nchw", "prepared"):
            raise ConfigError(f"graph {graph.file} has layout or values of an image; a transform takes vectors")


def _check_identity(manifest: Manifest) -> None:
    """Refuse what contradicts the name of the space, or of the transform."""
    own = manifest.identity
    if manifest.role == "transform":
        _check_transform(manifest, own)
        return
    if own is None:
        if covers_all(manifest.space):
            raise ConfigError(
                f"there is no identity, of which space {manifest.space} is the digest; restore it or export again"
            )
        return
    if not isinstance(own, Identity):
        raise ConfigError(f"a {manifest.role} model has the identity of a transform; export it again")
    if (own.arch, own.dim) != (manifest.arch, manifest.dim):
        raise ConfigError(
            f"it is {manifest.arch} of {manifest.dim}, its identity {own.arch} of {own.dim}; export it again"
        )
    kinds = {graph.values for graph in manifest.graphs} or {"prepared"}
    left = {own.preprocessing if kind == "prepared" else own.preprocessing.inside_graph() for kind in kinds}
    if left != {manifest.preprocessing}:
        raise ConfigError(
            "preprocessing is not what the identity and the graphs leave to a client: it was changed after the "
            "space was named; restore the bundle from its source"
        )
    own.require_space(manifest.space, "it")


def _check_transform(manifest: Manifest, own: Identity | TransformIdentity | None) -> None:
    """Refuse an identity of another transform than the manifest describes."""
    if own is None:
        return
    if not isinstance(own, TransformIdentity):
        raise ConfigError("a transform has the identity of a model of images; export it again")
    if (own.arch, own.spaces) != (manifest.arch, manifest.spaces):
        raise ConfigError(
            f"it is {manifest.arch} {manifest.spaces}, its identity {own.arch} {own.spaces}: one of them was changed "
            f"after the transform was named; restore the bundle from its source"
        )


def _check_certificates(manifest: Manifest) -> None:
    """Refuse a certificate of anything but this model and what it declares, and two of one evaluation."""
    all_shown = manifest.certificates
    if not isinstance(all_shown, tuple) or not all(isinstance(shown, Certificate) for shown in all_shown):
        raise ConfigError(f"certificates is {shown_value(all_shown)}; expected a tuple of certificates")
    for shown in all_shown:
        if shown.query_space != manifest.space or shown.gallery_space not in manifest.searches:
            raise ConfigError(
                f"a certificate shows that {shown.query_space} may search {shown.gallery_space}; expected "
                f"{manifest.space} and one of {list(manifest.searches)}"
            )
    seen = {(shown.gallery_space, shown.data_sha256) for shown in all_shown}
    if len(seen) < len(all_shown):
        raise ConfigError("two certificates are of one gallery space and the same data; expected one")

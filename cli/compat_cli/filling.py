"""Filling a gallery with pictures, part by part, so that an interruption loses little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_cli import console, pictures
from compat_cli.origins import origins_of
from compat_sdk.errors import ConfigError, IncompatibleSpaceError
from compat_sdk.shown import shortened, shown_value
from compat_sdk.spelling import composed

if TYPE_CHECKING:
    from compat_sdk.gallery import Gallery
    from compat_sdk.progress import Progress


def fill(
    gallery: Gallery,
    model: pictures.Model,
    wanted: pictures.Pictures,
    progress: Progress,
    *,
    skip_unreadable: bool = False,
    replace: bool = False,
) -> int:
    """Embeds the pictures that the gallery does not hold yet, part by part, each durable before the next.

    Args:
        gallery: Where they go.
        model: That the gallery was built with.
        wanted: Pictures; those that it holds are left alone.
        progress: Called after each part.
        skip_unreadable: Name images that cannot be read and go on.
        replace: Embed those again whose file, or whose label, is another than the gallery's row has.

    Returns:
        How many were added.

    Raises:
        IncompatibleSpaceError: The model writes in another space than the gallery's.
        ConfigError: The gallery holds other pictures or labels of the same ids and they may not be replaced.
        ImageError: An image cannot be read and none may be skipped.
    """
    if model.space != gallery.space:
        raise IncompatibleSpaceError(
            model.space,
            (),
            gallery.space,
            f"the gallery is in space {gallery.space}, the model writes {model.space}; expected the model that "
            f"the gallery was built with",
        )
    held, origins = dict(zip(gallery.ids, gallery.labels, strict=True)), origins_of(gallery)
    others = [wanted.ids[row] for row in origins.others(wanted.ids, wanted.images) if wanted.ids[row] in held]
    told = zip(wanted.ids, wanted.labels, strict=True)  # an empty label says that nothing is known, not another label
    renamed = [id for id, label in told if label and composed(label) != composed(held.get(id, label))]
    if others and not replace:
        raise ConfigError(
            f"{len(others)} pictures have an id under which the gallery holds another picture, such as "
            f"{shortened(others[0])}; "
            f"tell them apart with --prefix, or take them in its place with --replace"
        )
    if renamed and not replace:
        raise ConfigError(
            f"{len(renamed)} pictures have another label than the gallery, such as {shortened(renamed[0])} with "
            f"{shown_value(held[renamed[0]])}; tell other pictures apart with --prefix, or take the new labels with "
            f"--replace"
        )
    if others:
        console.note(f"{len(others)} pictures changed since they were embedded, such as {others[0]}: embedded again")
    if renamed:
        console.note(f"{len(renamed)} pictures have another label, such as {renamed[0]}: embedded again")
    if outdated := dict.fromkeys([*others, *renamed]):
        gallery.remove(outdated)
        held = {id: label for id, label in held.items() if id not in outdated}
    if wanted.left_out:
        console.note(f"warning: {wanted.left_out}")
    missing = wanted.take([row for row, name in enumerate(wanted.ids) if name not in held])
    done = added = 0
    for part, embeddings, errors in pictures.embed_in_chunks(model, missing, skip_unreadable=skip_unreadable):
        gallery.add(embeddings, part.ids, part.labels)
        origins.record(part.ids, part.images)
        added += len(part)
        done += len(part) + len(errors)
        progress("embed", done, len(missing), {})
        for error in errors:
            console.note(f"warning: left out: {error}")
    return added

"""Someone whose signature counts, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from compat_sdk.bundle.manifest import Role
from compat_sdk.bundle.signature import PublicKey
from compat_sdk.errors import ConfigError
from compat_sdk.shown import shortened, shown_value
from compat_sdk.spelling import composed

GALLERY_ROLE = "index"  # what a maker of galleries, which are no bundles, may be limited to
_ROLES = (*get_args(Role), GALLERY_ROLE)


@dataclass(frozen=True)
class Maker:
    """Someone whose signature counts.

    Attributes:
        name: For people.
        key: Public key.
        roles: May sign models of these roles, and galleries if ``"index"`` is among them; None for anything.
        spaces: Of these embedding spaces; None for all.
        bundles: Bundles of these names; None for all. It says nothing of galleries.

    Raises:
        ConfigError: A role that there is not, or no name.
    """

    name: str
    key: PublicKey
    roles: tuple[str, ...] | None = None
    spaces: tuple[str, ...] | None = None
    bundles: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a maker has no name; expected one for people")
        if wrong := set(self.roles or ()) - set(_ROLES):
            found = f"maker {shortened(self.name)} has the role {shown_value(min(wrong))}"
            raise ConfigError(f"{found}; expected some of {', '.join(_ROLES)}")

    def problem(self, role: str, space: str, name: str | None) -> str | None:
        """Say what this maker may not sign about something, or return None.

        Args:
            role: Of the model, or ``"index"`` for a gallery.
            space: That it writes in, or is in.
            name: Of the bundle; None for a gallery.
        """
        limits = (("role", role, self.roles), ("space", space, self.spaces), ("name", name, self.bundles))
        for label, found, allowed in limits:
            if found is not None and allowed is not None and composed(found) not in map(composed, allowed):
                return f"{label} {found}, where this maker may sign {', '.join(allowed) or 'none'} alone"
        return None

"""Upgrades: a stored gallery becomes one in a new model's space, without the images and while it is used.

    run        transform every row into shards beside the gallery; run again after any interruption
    cutover    one atomic step: the gallery is in the new space
    rollback   another: it is in the old space again
    discard    give up an unfinished run, or delete the old vectors that rollback would need

Nothing of a run is visible before the cutover, and searches go on all the time: one gallery.json names the files
of one space. `plan` says what a run will cost and how good it will be, `verify` checks what it has written.
"""

from compat_sdk.upgrade.accuracy import Accuracy
from compat_sdk.upgrade.canary import canary
from compat_sdk.upgrade.embedding_again import EmbeddedAgain, embed_again, read_uncertainty
from compat_sdk.upgrade.following import Followed, follow
from compat_sdk.upgrade.giving_up import discard
from compat_sdk.upgrade.opener import BundleTransform, Transformer, TransformOpener
from compat_sdk.upgrade.plan import Plan, plan
from compat_sdk.upgrade.quality import Interval, Quality
from compat_sdk.upgrade.rolling_back import Rollback, rollback
from compat_sdk.upgrade.run import RunResult, run
from compat_sdk.upgrade.status import Status, status
from compat_sdk.upgrade.switch import Cutover, cutover
from compat_sdk.upgrade.verify import Verification, verify

__all__ = [
    "Accuracy",
    "BundleTransform",
    "Cutover",
    "EmbeddedAgain",
    "Followed",
    "Interval",
    "Plan",
    "Quality",
    "Rollback",
    "RunResult",
    "Status",
    "TransformOpener",
    "Transformer",
    "Verification",
    "canary",
    "cutover",
    "discard",
    "embed_again",
    "follow",
    "plan",
    "read_uncertainty",
    "rollback",
    "run",
    "status",
    "verify",
]

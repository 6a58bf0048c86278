"""Swin Transformer, tiny, of the package timm: that of DMU, https://arxiv.org/abs/2210.06954, appendix B."""

from __future__ import annotations

from torch import Tensor, nn

from compat_sdk.errors import CompatError
from compat_train.models.layers import GeneralisedMeanPool, GlobalAveragePool
from compat_train.models.optional_package import import_timm

_HEADS = (3, 6, 12, 24)


class SwinTiny(nn.Module):
    """Swin-T from images to embeddings that are not normalised.

    timm's blocks with fresh weights (no download), windows of 7, a pool over the last tokens and one linear layer.
    Any image side works; sides whose token grid is no multiple of 7 are padded inside the blocks. `count_cost` finds
    the paper's 4.5 GMACs at 224 pixels.

    Source: Liu et al., ICCV 2021, https://arxiv.org/abs/2103.14030, table 7 and section 3.

    Args:
        dim: Length of the embedding.
        width: Multiplier of the 96 channels of the first stage; the product is rounded to a multiple of 24.
        stem_stride: 2 for the paper's patches of 4 pixels at 224 pixels, 1 for patches of 2 at 112: 56 x 56 tokens
            either way.
        generalised_mean: Pool by the generalised mean instead of the mean.

    Raises:
        MissingExtraError: timm is not installed.
        ConfigError: The installed timm is too old to take images of any side.
    """

    def __init__(
        self, *, dim: int = 128, width: float = 1.0, stem_stride: int = 1, generalised_mean: bool = False
    ) -> None:
        super().__init__()
        timm = import_timm("timm.models.swin_transformer")
        channels = max(24, round(96 * width / 24) * 24)
        try:
            self.features = timm.SwinTransformer(
                img_size=112 * stem_stride,
                patch_size=2 * stem_stride,
                embed_dim=channels,
                depths=(2, 2, 6, 2),
                num_heads=_HEADS,
                window_size=7,
                num_classes=0,
                strict_img_size=False,
            )
        except TypeError as error:
            raise CompatError(
                f"the installed timm cannot build swin_tiny ({error}); install timm 1.0 or newer"
            ) from error
        self.pool = GeneralisedMeanPool() if generalised_mean else GlobalAveragePool()
        self.head = nn.Linear(channels * 8, dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        tokens: Tensor = self.features.forward_features(images)
        embeddings: Tensor = self.head(self.pool(tokens.permute(0, 3, 1, 2)))
        return embeddings

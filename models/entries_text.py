"""Known models of text on screen: detectors, recognisers, orientation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framemill.models.entry import ModelEntry

_APACHE: Mapping[str, Any] = {"licence": "Apache-2.0", "commercial": True, "colour": "bgr"}
# 0..255 to -1..1
_CENTRED: Mapping[str, Any] = {"mean": (127.5,), "scale": (1 / 127.5,)}
# Mean and deviation of ImageNet's red, green and blue, which PaddleOCR applies to blue, green and red.
_IMAGENET: Mapping[str, Any] = {
    "mean": (123.675, 116.28, 103.53),
    "scale": (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
}
# Class 0 is CTC's blank and the last one a space, which the published dictionary also holds itself.
_ENGLISH = ("", *map(chr, range(ord("0"), ord("~") + 1)), *map(chr, range(ord("!"), ord("/") + 1)), " ", " ")

TEXT_ENTRIES: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="ppocrv6_det_small",
        role="text_detection",
        family="dbnet",
        package_file="rapidocr/models/PP-OCRv6_det_small.onnx",
        sha256="090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        num_bytes=9_929_594,
        batching="dynamic",
        **_APACHE,
        **_CENTRED,
    ),
    ModelEntry(
        name="ppocrv3_det",
        role="text_detection",
        family="dbnet",
        url=(
            "https://media.githubusercontent.com/media/opencv/opencv_zoo/334886b7822dd90e4b540eea26e26ee9288471d4/"
            "models/text_detection_ppocr/text_detection_ch_ppocrv3_2023may.onnx"
        ),
        sha256="03f550c6b406fda8bf54bd8327815f6c7e2edd98cea02348c93d879254366587",
        num_bytes=2_423_490,
        batching="none",
        **_APACHE,
        **_IMAGENET,
    ),
    ModelEntry(
        name="ppocrv6_rec_small",
        role="text_recognition",
        family="ctc_text",
        package_file="rapidocr/models/PP-OCRv6_rec_small.onnx",
        sha256="6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        num_bytes=21_234_383,
        input_size=(320, 48),
        batching="dynamic",
        **_APACHE,
        **_CENTRED,
    ),
    ModelEntry(
        name="ppocrv2_rec_en",
        role="text_recognition",
        family="ctc_text",
        url=(
            "https://raw.githubusercontent.com/ssYanhuo/ocrweb/4e3ed1d37983d837425af82d1138cef95344b355/"
            "resources/models/en_number_mobile_v2.0_rec_infer.onnx"
        ),
        sha256="7fea5a9eed6ca9f80ae6d26530b1c3308dc9ae42e652590f25865d17af99112f",
        num_bytes=1_882_400,
        input_size=(320, 32),
        labels=_ENGLISH,
        batching="dynamic",
        **_APACHE,
        **_CENTRED,
    ),
    ModelEntry(
        name="ppocrv2_text_orientation",
        role="text_orientation",
        family="text_orientation",
        package_file="rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        sha256="e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        num_bytes=585_532,
        input_size=(192, 48),
        labels=("0", "180"),
        batching="dynamic",
        **_APACHE,
        **_CENTRED,
    ),
)

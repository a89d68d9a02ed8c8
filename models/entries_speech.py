"""Known models that turn speech into text: CTranslate2 conversions of Whisper for faster-whisper.

The digests are those that the origin states for these commits.
"""

from __future__ import annotations

from framemill.models.entry import ModelEntry
from framemill.models.folders import ModelFile, digest_files

_TOKENIZER = ModelFile(
    "tokenizer.json", "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab", 2_203_239
)
_VOCABULARY = ModelFile(
    "vocabulary.txt", "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913", 459_861
)
_V3 = (
    ModelFile(
        "preprocessor_config.json", "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711", 340
    ),
    ModelFile(
        "vocabulary.json", "c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1", 1_068_114
    ),
)
_V3_TOKENIZER = ModelFile(
    "tokenizer.json", "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca", 2_480_617
)


def _whisper(
    name: str, origin: str, config: tuple[str, int], weights: tuple[str, int], *others: ModelFile
) -> ModelEntry:
    """`origin` is repository@commit, empty for a model that only a mirror folder has."""
    files = (ModelFile("config.json", *config), ModelFile("model.bin", *weights), *others)
    repository, _, commit = origin.partition("@")
    return ModelEntry(
        name=name,
        role="transcript",
        family="whisper",
        url=f"https://huggingface.co/{repository}/resolve/{commit}/" if origin else "",
        files=files,
        sha256=digest_files(files),
        num_bytes=sum(file.num_bytes for file in files),
        licence="MIT" if origin else "CC0-1.0",
        commercial=True,
        batching="dynamic",
    )


# The first is the role's default.
SPEECH_ENTRIES: tuple[ModelEntry, ...] = (
    _whisper(
        "whisper_small",
        "Systran/faster-whisper-small@536b0662742c02347bc0e980a01041f333bce120",
        ("b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828", 2_370),
        ("3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671", 483_546_902),
        _TOKENIZER,
        _VOCABULARY,
    ),
    _whisper(
        "whisper_tiny",
        "Systran/faster-whisper-tiny@d90ca5fe260221311c53c58e660288d3deb8d356",
        ("a73a28cdfe1c43ccc7202fa333d1f89c202477271407ae9a7f19afa52039cac8", 2_249),
        ("dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1", 75_538_270),
        _TOKENIZER,
        _VOCABULARY,
    ),
    _whisper(
        "whisper_base",
        "Systran/faster-whisper-base@ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        ("56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", 2_309),
        ("d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", 145_217_532),
        _TOKENIZER,
        _VOCABULARY,
    ),
    _whisper(
        "whisper_medium",
        "Systran/faster-whisper-medium@08e178d48790749d25932bbc082711ddcfdfbc4f",
        ("3622a2ddc41ec0e0fd4e68c13c6830f03b90c38d89aaad184de02c8c642cf807", 2_257),
        ("9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae", 1_527_906_378),
        _TOKENIZER,
        _VOCABULARY,
    ),
    _whisper(
        "whisper_large_v3",
        "Systran/faster-whisper-large-v3@edaa852ec7e145841d8ffdb056a99866b5f0a478",
        ("a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9", 2_394),
        ("69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1", 3_087_284_237),
        _V3_TOKENIZER,
        *_V3,
    ),
    _whisper(
        "whisper_large_v3_turbo",
        "dropbox-dash/faster-whisper-large-v3-turbo@0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        ("b0253ea6c0d3bea6b1e19e91a02acfd3b53f4467362efcb5a3e6b16c9b3a9b7e", 2_263),
        ("e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da", 1_617_884_929),
        ModelFile(
            "tokenizer.json", "297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd", 2_710_337
        ),
        *_V3,
    ),
    _whisper(
        "whisper_distil_large_v3",
        "Systran/faster-distil-whisper-large-v3@c3058b475261292e64a0412df1d2681c06260fab",
        ("90c55f775cc4e0bb17293d0bf12f96557a486f20dea886fabd8e6075a3588b21", 2_690),
        ("b79368e19b6623813609431a6e5ee309a71506701ebc49fd7820e692dec7c5f5", 1_512_927_867),
        _V3_TOKENIZER,
        *_V3,
    ),
    # A small recogniser of 92 English and German words, made to test transcripts.
    _whisper(
        "whisper_words",
        "",
        ("4906d3ecb21b55907803fa4948c7ebac99c55e13bb53e601bd672f0da08bf482", 2_129),
        ("013166f9649665563b9da9e80c92ddf8bfe9487d886457e5fa505bfabbd86ece", 9_883_719),
        ModelFile(
            "tokenizer.json", "c2f789e80d1d15b90b70a15c2f21d2a1530a19d50b9e2b69113c15f6f52f31d7", 1_621_303
        ),
        ModelFile(
            "preprocessor_config.json",
            "91b5dbc72b13472f88cba2f382d13ffe18667174fa5bd2fdebb1f57d2bb3da03",
            326,
        ),
        ModelFile(
            "vocabulary.json", "96ef2e976694971bb50127a449803b9350aaa037f3e640bd55628856ac7965ba", 563_643
        ),
    ),
)

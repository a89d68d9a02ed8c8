"""The settings of a run that are one of a few words; apart, so that `--help` lists them without msgspec."""

from __future__ import annotations

from typing import Literal, get_args

Engine = Literal["auto", "local", "ray"]
Topology = Literal["fused", "split"]
Provider = Literal["", "tensorrt", "cuda", "coreml", "openvino", "cpu"]  # empty: any
Precision = Literal["fp32", "fp16", "int8", "auto"]
Quality = Literal["fast", "balanced", "best"]
Sandbox = Literal["auto", "strict", "off"]
ENGINES: tuple[str, ...] = get_args(Engine)
TOPOLOGIES: tuple[str, ...] = get_args(Topology)
PROVIDERS: tuple[str, ...] = get_args(Provider)[1:]
PRECISIONS: tuple[str, ...] = get_args(Precision)
QUALITIES: tuple[str, ...] = get_args(Quality)
SANDBOXES: tuple[str, ...] = get_args(Sandbox)

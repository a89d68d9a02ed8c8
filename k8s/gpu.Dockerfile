# From the repository root: docker build -f k8s/gpu.Dockerfile -t framemill-gpu:0.1.0 .
# No CUDA base image: the wheels bring every CUDA library but the driver's own (580 or newer), which the
# container runtime mounts. A second set of libraries would only add gigabytes and a version to get wrong.
ARG PYTHON_IMAGE=python:3.11-slim-trixie

FROM ${PYTHON_IMAGE} AS build
RUN python -m venv /opt/framemill
ENV PATH=/opt/framemill/bin:$PATH
WORKDIR /src
COPY . .
# Without dependencies, since one of them asks for the CPU distribution of ONNX Runtime, which overwrites the
# GPU one; and without TensorRT, whose package downloads while it installs (docs/install.md): models run on CUDA.
# Then Ray with the versions of the CPU image: head and workers must agree on them.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --no-input --no-deps --requirement constraints/gpu-cu13.txt && \
    pip install --disable-pip-version-check --no-input --constraint constraints/cpu.txt ".[ray,cloud]"

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --no-create-home --home-dir /tmp framemill
COPY --from=build /opt/framemill /opt/framemill
# `video` mounts the driver's decoder library, without which no frame is decoded on the GPU.
ENV PATH=/opt/framemill/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,video,utility
WORKDIR /work
USER 10001:10001
CMD ["framemill", "--help"]

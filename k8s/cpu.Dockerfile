# From the repository root: docker build -f k8s/cpu.Dockerfile -t framemill-cpu:0.1.0 .
# Python 3.11, as in gpu.Dockerfile: the nodes of a Ray cluster share one version, and the GPU pins are for 3.11.
ARG PYTHON_IMAGE=python:3.11-slim-trixie

FROM ${PYTHON_IMAGE} AS build
RUN python -m venv /opt/framemill
ENV PATH=/opt/framemill/bin:$PATH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --no-input --constraint constraints/cpu.txt ".[cpu,ray,cloud]"

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --no-create-home --home-dir /tmp framemill
COPY --from=build /opt/framemill /opt/framemill
# All that Ray and the libraries write goes below /tmp, so the root file system can be read-only.
ENV PATH=/opt/framemill/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
# Empty and not writable: a folder `framemill` in the working folder would be imported instead of ours.
WORKDIR /work
USER 10001:10001
CMD ["framemill", "--help"]

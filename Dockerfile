# One image for the operator and for its workers. BASE needs Python 3.11 or later, the same in both stages.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# ---- dependencies first, then the code: a change of code reuses the layer of dependencies
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt ./
RUN python3 -m venv /app/venv \
 && /app/venv/bin/pip install --require-hashes -r runtime.txt \
 && python3 -m venv /build/venv \
 && /build/venv/bin/pip install --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /build/venv/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /app/venv/bin/pip install --no-deps dist/*.whl \
 && /app/venv/bin/python -m compileall -q /app/venv/lib \
 && ln -s /app/venv/bin/backup-manager /app/backup-manager

FROM ${BASE}
# tini reaps what hooks leave behind and hands SIGTERM on; Debian's own package is as new as the base.
# hadolint ignore=DL3008
RUN command -v tini >/dev/null \
 || { apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /app /app
LABEL org.opencontainers.image.title="iot-backup-operator" \
      org.opencontainers.image.description="Backs up and restores the volumes of IoT platforms on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/app:/app/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["tini", "--", "/app/backup-manager"]
CMD ["--help"]

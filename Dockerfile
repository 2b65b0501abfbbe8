# One image for the operator and for its workers. BASE needs Python 3.11 or later; every stage uses the same.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# ---- what we depend on: a layer of its own, which a change of our code leaves as it is
FROM ${BASE} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements/runtime.txt ./
RUN python3 -m venv /app/venv \
 && /app/venv/bin/pip install --require-hashes -r runtime.txt \
 && /app/venv/bin/python -c "import pathlib, site; pathlib.Path(site.getsitepackages()[0], 'app.pth').write_text('/app/lib\n')"

# ---- our code, built as the wheel that also goes to package indexes
FROM dependencies AS code
COPY requirements/build.txt ./
RUN python3 -m venv venv \
 && venv/bin/pip install --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN venv/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /app/venv/bin/pip install --no-deps --target /app/lib dist/*.whl \
 && ln -s lib/bin/backup-manager /app/backup-manager

FROM ${BASE}
# tini reaps what a worker's children leave behind and hands SIGTERM on; the base's own package is as new as the base.
# hadolint ignore=DL3008
RUN command -v tini >/dev/null \
 || { apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; }
COPY --from=dependencies /app/venv /app/venv
COPY --from=code /app/lib /app/lib
COPY --from=code /app/backup-manager /app/backup-manager
LABEL org.opencontainers.image.title="iot-backup-operator" \
      org.opencontainers.image.description="Backs up and restores the volumes of IoT platforms on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
# One malloc arena: each thread of the pipeline would keep one of its own, 10 MB in all. No pydantic plugins: looking for some takes 50 ms.
ENV PATH=/app:/app/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=1 PYDANTIC_DISABLE_PLUGINS=__all__
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["tini", "--", "/app/backup-manager"]
CMD ["--help"]

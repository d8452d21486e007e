# lungpipe, its command line and the programs of Dask and Prefect, for a user without rights; docs/clusters.md tells how.
#   docker build -t lungpipe:0.1.0 .                                 more extras: --build-arg EXTRAS=s3,provenance
#   docker run --rm -v "$PWD/keys:/keys" -v /data:/data:ro -v "$PWD:/work" lungpipe:0.1.0 lungpipe run my.toml
# No key is in here: /keys is mounted, and holds pseudonym.key and what lungpipe keeps beside it.

# Debian's own Python 3.11 in both stages: it gets Debian's security updates, and a test runs these steps without Docker.
FROM debian:bookworm-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The compiler is PyRadiomics', which has no wheels; it stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
ARG EXTRAS=s3
WORKDIR /src
COPY constraints.txt /src/
RUN python3 -m venv /opt/lungpipe
# The pins hold for what is needed to build, too.
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml README.md LICENSE /src/
COPY lungpipe /src/lungpipe
COPY data_catalog /src/data_catalog
COPY tasks /src/tasks
COPY flows /src/flows
RUN /opt/lungpipe/bin/pip install "/src[${EXTRAS}]"

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="lungpipe" \
      org.opencontainers.image.description="Curates lung-CT data sets and turns them into radiomics" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin lungpipe \
    && mkdir /keys /work \
    && chown lungpipe:lungpipe /keys /work
COPY --from=build /opt/lungpipe /opt/lungpipe
# Named, the key must be there: else one would be made, and lost with the container.
ENV PATH=/opt/lungpipe/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    LUNGPIPE_KEY_FILE=/keys/pseudonym.key
USER 10001:10001
WORKDIR /work
# Every plug-in loads and the key is there; services that need neither have checks of their own in compose.yaml.
HEALTHCHECK --interval=5m --timeout=2m --start-period=2m CMD ["lungpipe", "doctor"]
CMD ["lungpipe", "--help"]

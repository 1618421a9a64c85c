# The image of queue-processor, for linux/amd64 and linux/arm64:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag REGISTRY/queue-processor:0.1.0 --push .
#
# The base is pinned by its version. Pin it by its digest too when you build for production, so that
# the same Dockerfile gives the same image:  --build-arg BASE=python:3.11.14-slim-bookworm@sha256:...
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
ENV UV_PROJECT_ENVIRONMENT=/opt/queue-processor \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    # The image is read-only, so nobody has to look whether a source is newer than its bytecode;
    # and times that a registry rewrites do not make it look old.
    PYC_INVALIDATION_MODE=UNCHECKED_HASH

# The installer, too, is what uv.lock names, by its hash.
COPY pyproject.toml uv.lock ./
RUN python -c 'import tomllib; \
        packages = tomllib.load(open("uv.lock", "rb"))["package"]; \
        (uv,) = (each for each in packages if each["name"] == "uv"); \
        print("uv==" + uv["version"], *("--hash=" + each["hash"] for each in uv["wheels"]))' \
        > /tmp/uv.txt \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --require-hashes --only-binary :all: --requirement /tmp/uv.txt

# What changes seldom first. `--locked`: exactly what uv.lock names, each file by its hash, and an
# error where the lock is out of date. Wheels only: there is no compiler here.
RUN uv sync --locked --no-dev --extra tracing --no-editable --no-build --no-install-project
COPY LICENSE README.md ./
# A link in the package leads to the template: the demo deploys it.
COPY infra/cloudformation infra/cloudformation
COPY queue_processor queue_processor
RUN uv sync --locked --no-dev --extra tracing --no-editable

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="queue-processor" \
      org.opencontainers.image.description="Drains EC2 nodes before AWS takes them away" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/queue-processor /opt/queue-processor
# The Kubernetes client wants to know a home, which a user without a name has not.
ENV PATH=/opt/queue-processor/bin:$PATH \
    HOME=/nonexistent \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080
# Kubernetes has probes.
HEALTHCHECK NONE
ENTRYPOINT ["queue-processor"]
CMD ["run"]

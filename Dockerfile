# Builds the program from the sources here, then keeps the program and the sample pipelines alone.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends make perl pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY filters filters
COPY pipeline-runtime pipeline-runtime
COPY cli cli
COPY tests tests
COPY bench bench
# The caches stay on the machine that builds, so the next build compiles only what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p millstream \
 && cp target/release/millstream /usr/local/bin/millstream

FROM debian:bookworm-slim
# Certificates for TLS to a cluster; a user without rights; a folder for the embedded log.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 millstream \
 && install -d -o millstream /data
COPY --from=build /usr/local/bin/millstream /usr/local/bin/millstream
COPY pipelines /pipelines
USER millstream
ENV MILLSTREAM_DATA_DIR=/data
VOLUME /data
WORKDIR /pipelines
ENTRYPOINT ["millstream"]
CMD ["--help"]

# The one image of the project: the same binary plays every role (`juicefs csi node`, `juicefs operator`, ...).
#
# Two builders read this recipe: any container engine, and `cargo xtask image` (`make image`), which needs none and
# therefore knows FROM, ARG, COPY, ENV, USER, ENTRYPOINT and the one form of RUN below; it refuses anything else.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates fuse3 && rm -rf /var/lib/apt/lists/*
# Built before, on the same Debian: cargo build --release
ARG BINARY=target/release/juicefs
COPY ${BINARY} /usr/local/bin/juicefs
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Only the node plugin is root, and its pod says so.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/juicefs"]

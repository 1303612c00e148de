# A broker in a small image. Configured as Apache Kafka's own image is: by KAFKA_* variables, by
# files in /mnt/shared/config, or by docker/server.properties where neither says anything.
#
#   docker build -t ottla .
#   docker run -p 9092:9092 ottla

# Any image with Rust, and any with Debian's C library no older than the one of the former.
ARG BUILD_BASE=rust:1.95.0-slim-bookworm
ARG RUNTIME_BASE=debian:bookworm-slim

FROM ${BUILD_BASE} AS build
# A program that is built already, as a path in the build context; nothing is compiled then.
ARG BINARY=
WORKDIR /build
COPY . .
RUN if [ -z "$BINARY" ]; then cargo build --release --locked -p ottla && BINARY=target/release/ottla; fi \
 && install -D "$BINARY" /out/ottla

FROM ${RUNTIME_BASE}
# The user id of Kafka's image, so that its volumes fit.
RUN groupadd --gid 1000 ottla \
 && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /var/lib/kafka --shell /usr/sbin/nologin ottla \
 && install -d -o ottla -g ottla /var/lib/kafka /var/lib/kafka/data
COPY docker/server.properties /etc/kafka/docker/server.properties
COPY docker/healthcheck /usr/local/bin/ottla-healthcheck
COPY --from=build /out/ottla /usr/local/bin/ottla
USER 1000:1000
WORKDIR /var/lib/kafka
VOLUME /var/lib/kafka/data
EXPOSE 9092
ENTRYPOINT ["ottla"]
CMD ["server", "--from-environment"]

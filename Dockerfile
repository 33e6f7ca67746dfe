FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist --bin scoregate

FROM debian:bookworm-slim
# Roots for issuers and for instances that are reached over TLS.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -m 0700 -o 65532 -g 65532 /var/lib/scoregate
COPY --from=build /src/target/dist/scoregate /usr/local/bin/scoregate
USER 65532:65532
# The store, its master key, the control plane's authority and the default data store of batch jobs; nothing else is
# written, so the root may be read-only.
VOLUME /var/lib/scoregate
WORKDIR /var/lib/scoregate
EXPOSE 8080 8081 9090
ENTRYPOINT ["scoregate"]
CMD ["serve", "--config", "/etc/scoregate/scoregate.yaml"]

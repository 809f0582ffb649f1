# The image: one static binary, the public CA certificates, the bill of materials, nothing else; it runs as nobody in particular.
# tests/image/main.rs runs the build step below as it stands here, and its result in an empty root directory.

FROM rust:1.95.0-bookworm AS build
WORKDIR /birdwatch
COPY . .
# Relative relocations packed save 0.4 MB (glibc 2.36 and later read them). The cfg has randomness come from the system call: a static binary cannot look it up in libc and would need /dev/urandom.
RUN RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs --cfg getrandom_backend="linux_getrandom"' cargo build --release --locked --bin birdwatch --target "$(uname -m)-unknown-linux-gnu"
# Its place depends on the architecture; the next stage wants one.
RUN cp "target/$(uname -m)-unknown-linux-gnu/release/birdwatch" /birdwatch/birdwatch

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /birdwatch/birdwatch /birdwatch
# What it is made of, for scanners that look into images: CycloneDX.
COPY --from=build /birdwatch/sbom.cdx.json /sbom.cdx.json
# The allocator keeps what each of its arenas had at its fullest; of itself it makes eight for each processor of the node.
ENV MALLOC_ARENA_MAX=2
USER 65532:65532
ENTRYPOINT ["/birdwatch"]

#!/usr/bin/env bash
# Builds a Debian package of `orch` with its manual pages and completions, and prints where it lies.
#
#   packaging/build.sh            linked against this system's C library
#   packaging/build.sh --static   against musl: runs on any Linux of this architecture
#
# It needs `cargo install cargo-deb`; for --static also `rustup target add x86_64-unknown-linux-musl`
# and musl's C compiler (Debian: musl-tools).
set -euo pipefail
cd "$(dirname "$0")/.."
# Where the package is made from, whatever else is set.
export CARGO_TARGET_DIR=target
target=()
release=target/release
if [ "${1:-}" = --static ]; then
    triple="$(uname -m)-unknown-linux-musl"
    target=(--target "$triple")
    release="target/$triple/release"
    variable="CC_${triple//-/_}"
    export "$variable=${!variable:-musl-gcc}"
    # At a fixed address, as everywhere (src/build.rs): else the linker is asked for both.
    variable="CARGO_TARGET_$(tr a-z- A-Z_ <<<"$triple")_RUSTFLAGS"
    export "$variable=${!variable:-} -C relocation-model=static"
elif [ "$#" -gt 0 ]; then
    echo "usage: $0 [--static]" >&2
    exit 2
fi
cargo build --release --locked "${target[@]}"

# The program itself writes its manual pages and completions.
orch="$release/orch"
made=target/packaging
rm -rf "$made"
mkdir -p "$made/man" "$made/completions"
"$orch" man >"$made/man/orch.1"
for command in init check tool trust prices schema completions man; do
    "$orch" man "$command" >"$made/man/orch-$command.1"
done
"$orch" completions bash >"$made/completions/orch"
"$orch" completions zsh >"$made/completions/_orch"
"$orch" completions fish >"$made/completions/orch.fish"

cargo deb --no-build --locked "${target[@]}"

#!/usr/bin/env bash
# Makes a tarball to install from: the program, its man page, completions for shells, the unit for systemd,
# kernel settings, an example of a configuration, the documentation.
#
#   scripts/packaging/make-dist.sh [FOLDER]     into FOLDER, or target/dist
#
# BROKER names a program that is built already; otherwise it is built with optimisation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

out=${1:-target/dist}
broker=${BROKER:-target/release/broker}
[ -n "${BROKER:-}" ] || cargo build --release --locked --quiet --bin broker
version=$("$broker" --version | awk '{print $2}')
name=millrace-$version-$(uname -m)-linux
tree=$out/$name

rm -rf "$tree"
mkdir -p "$tree"/{bin,man,completions,systemd,tuning,etc,doc}
install -m 755 "$broker" "$tree/bin/broker"
strip "$tree/bin/broker" 2>/dev/null || echo "the program is not stripped: there is no strip" >&2
cargo run --quiet --locked --example generate -- "$tree"
install -m 644 scripts/packaging/millrace.service "$tree/systemd/millrace.service"
install -m 644 scripts/packaging/millrace.toml "$tree/etc/millrace.toml"
install -m 755 tuning/sysctl.sh "$tree/tuning/sysctl.sh"
install -m 644 tuning/limits.conf "$tree/tuning/limits.conf"
install -m 755 scripts/packaging/install.sh "$tree/install.sh"
install -m 644 README.md LICENSE-MIT LICENSE-APACHE "$tree"
install -m 644 docs/*.md docs/openapi.json "$tree/doc"
tar -C "$out" --owner=0 --group=0 -czf "$out/$name.tar.gz" "$name"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"

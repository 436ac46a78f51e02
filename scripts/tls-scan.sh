#!/usr/bin/env bash
#
# What sslyze (against Mozilla's recommendations) and testssl.sh say of a TLS listener, with an RSA and an ECDSA
# certificate. Nothing may be found but what comes of a certificate that nobody has signed: see
# record_scan.py, which judges, and writes a result to results/tls.
#
#   SSLYZE=... scripts/tls-scan.sh     BROKER may name another program than that of target/release

set -euo pipefail
cd "$(dirname "$0")/.."

broker=${BROKER:-target/release/broker}
sslyze=${SSLYZE:-sslyze}
testssl=$(command -v testssl.sh || command -v testssl)
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT

for kind in rsa ec; do
    arguments=(-newkey rsa:2048)
    [ "$kind" = rsa ] || arguments=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1)
    openssl req -x509 "${arguments[@]}" -nodes -days 90 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -addext extendedKeyUsage=serverAuth -keyout "$dir/key" -out "$dir/pem" 2>/dev/null
    "$broker" --data-dir "$dir/data" --cores 1 --listen tls://127.0.0.1:0 --set http.listen=off \
        --set "listeners.ssl.default.ssl_options.certfile=$dir/pem" \
        --set "listeners.ssl.default.ssl_options.keyfile=$dir/key" >"$dir/out" 2>"$dir/err" &
    pid=$!
    for _ in $(seq 200); do
        grep -q '^ready' "$dir/out" && break
        kill -0 "$pid"
        sleep 0.1
    done
    port=$(awk '/^listening ssl:/ {sub(/.*:/, ""); print}' "$dir/out")
    # Each says by its exit code that it has found something.
    "$sslyze" --json_out "$dir/sslyze-$kind.json" "localhost:$port" >"$dir/sslyze-$kind.txt" || true
    "$testssl" --quiet --warnings off --color 0 --nodns min --ip one --openssl "$(command -v openssl)" \
        --jsonfile "$dir/testssl-$kind.json" "localhost:$port" </dev/null >"$dir/testssl-$kind.txt" 2>&1 || true
    kill "$pid"
    wait "$pid" || true
    pid=
    sed -n '/COMPLIANCE/,$p' "$dir/sslyze-$kind.txt"
done
scripts/record_scan.py "$dir" "$broker"

#!/usr/bin/env bash
# Whether the HTTP API does what its document says: the document is valid OpenAPI, and schemathesis, which
# makes up requests of all kinds from it, finds no answer with 5xx, none with a status code that is not in the
# document, and none whose body is not as the document says. As administrator, as viewer, and as nobody,
# SECONDS_EACH (40) at most. Ends with 1 if something is found; the requests are told as lines for curl.
#
#   scripts/check-api.sh [OPTION of `schemathesis run`...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SECONDS_EACH=${SECONDS_EACH:-40}
BROKER=${BROKER:-target/release/broker}
HARNESS=${HARNESS:-target/release/bench-harness}
TOOLS=${TOOLS:-target/test-tools}
CLIENTS=20
tools=$(realpath "$TOOLS")/schemathesis/bin

work=$(mktemp -d)
broker= clients=
end() {
    [ -n "$clients" ] && kill "$clients" 2>/dev/null && wait "$clients" 2>/dev/null
    [ -n "$broker" ] && kill "$broker" 2>/dev/null && wait "$broker"
    rm -rf "$work"
}
trap end EXIT

"$BROKER" --cores 2 --listen tcp://127.0.0.1:0 --data-dir "$work/data" \
    --set http.listen=127.0.0.1:0 >"$work/out" 2>"$work/err" &
broker=$!
if ! timeout 30 bash -c "until grep -qx ready '$work/out'; do sleep 0.05; done"; then
    cat "$work/err" >&2
    exit 1
fi
target=$(awk '$1 == "listening" && $2 ~ /^tcp:/ { print $3; exit }' "$work/out")
api=http://$(awk '$1 == "listening" && $2 == "http" { print $3; exit }' "$work/out")
"$HARNESS" connect --target "$target" --connections "$CLIENTS" --rate 100 --subscribe-own --hold 3600 \
    --client-id-prefix c --client-id-length 3 --no-results --quiet >"$work/clients" 2>&1 &
clients=$!

curl -sf "$api/api-docs/swagger.json" >"$work/openapi.json"
"$tools/openapi-spec-validator" "$work/openapi.json"

# A name that no made-up request has, so that the keys outlive the run.
key() {
    "$BROKER" ctl --data-dir "$work/data" --json api_keys add "schemathesis-$1" "$1" |
        sed -n 's/.*"api_key":"\([^"]*\)","api_secret":"\([^"]*\)".*/\1:\2/p'
}

# Nobody is to stay nobody, and not to make a user of its own.
printf '[auth]\nauto-signup = false\n' >"$work/schemathesis.toml"

failed=0
run() {
    local who=$1
    shift
    echo "== as $who"
    # It keeps notes in the folder in which it runs.
    if ! (cd "$work" && "$tools/schemathesis" --config-file schemathesis.toml run openapi.json \
        --url "$api" --no-color --max-time "$SECONDS_EACH" --request-timeout 30 \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        --phases examples,coverage,fuzzing --continue-on-failure --warnings off "$@" >said 2>&1); then
        failed=1
        cat "$work/said"
        return 0
    fi
    tail -n 25 "$work/said"
}
run administrator --auth "$(key administrator)" "$@"
run viewer --auth "$(key viewer)" "$@"
run nobody "$@"
kill -0 "$broker" || { cat "$work/err" && failed=1; }
exit "$failed"

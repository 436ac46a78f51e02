#!/usr/bin/env bash
# Whether the HTTP API does what its document says: the document is valid OpenAPI, and schemathesis, which
# makes up requests of all kinds from it, finds no answer with 5xx, none with a status code that is not in the
# document, and none whose body is not as the document says. As administrator (with made-up names and with those
# of what is there), as viewer, and as nobody; SECONDS_EACH (15) at most for each. Ends with 1 if something is found; the requests are told as lines for curl.
#
#   scripts/check-api.sh [OPTION of `schemathesis run`...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SECONDS_EACH=${SECONDS_EACH:-15}
BROKER=${BROKER:-target/release/broker}
HARNESS=${HARNESS:-target/release/bench-harness}
TOOLS=${TOOLS:-target/test-tools}
CLIENTS=20
tools=$(realpath "$TOOLS")/schemathesis/bin

work=$(mktemp -d)
broker=''
clients=''
# shellcheck disable=SC2317 # called by the trap
end() {
    local pid
    for pid in $clients $broker; do
        if kill "$pid" 2>/dev/null; then
            wait "$pid" 2>/dev/null || true
        fi
    done
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
"$HARNESS" connect --target "$target" --connections "$CLIENTS" --rate 100 --subscribe-own --reconnect 1 --hold 3600 \
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
printf '[auth]\nauto-signup = false\n' >"$work/anything.toml"
# Made-up names are nobody's: once more with names of what is there.
cat - "$work/anything.toml" >"$work/known.toml" <<'TOML'
[parameters]
"path.clientid" = "c05"
"path.node" = "millrace@127.0.0.1"
"path.id" = "tcp:default"
"path.code" = "NOT_FOUND"
"path.root" = "mqtt"
"path.username" = "second"
"path.topic" = "kept"
TOML
known() {
    curl -sf -u "$1" -H 'content-type: application/json' "$api/api/v5/$2" -d "$3" >/dev/null
}

failed=0
run() {
    local who=$1 names=$2
    shift 2
    echo "== as $who, $names names"
    # It keeps notes in the folder in which it runs.
    if ! (cd "$work" && "$tools/schemathesis" --config-file "$names.toml" run openapi.json \
        --url "$api" --no-color --max-time "$SECONDS_EACH" --request-timeout 30 \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        --phases examples,coverage,fuzzing --continue-on-failure --warnings off "$@" >said 2>&1); then
        failed=1
        cat "$work/said"
        return 0
    fi
    tail -n 25 "$work/said"
}
administrator=$(key administrator)
known "$administrator" users '{"username":"second","password":"long enough"}'
known "$administrator" publish '{"topic":"kept","payload":"x","retain":true}'
run administrator anything --auth "$administrator" "$@"
run administrator known --auth "$administrator" "$@"
run viewer anything --auth "$(key viewer)" "$@"
run nobody anything "$@"
kill -0 "$broker" || { cat "$work/err" && failed=1; }
exit "$failed"

#!/usr/bin/env bash
# shellcheck disable=SC2317 # the parts are called by name
#
# What connected clients notice while others are refused: failed logins beside bare connects, full RSA
# handshakes, and sockets that say little or nothing by the ten thousand. Results go to results/refuse-*.
#
#   scripts/refusals.sh [SECONDS]      seconds of each phase, by default 20
#
# LOGINS (5000 a second), HANDSHAKES (500 a second) and SOCKETS (20000) may be set; BROKER and HARNESS name
# other programs.

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
set -euo pipefail

export SECONDS_EACH=${1:-20} LOGINS=${LOGINS:-5000} HANDSHAKES=${HANDSHAKES:-500} SOCKETS=${SOCKETS:-20000}
export HARNESS=${HARNESS:-target/release/bench-harness}
TLS_PORT=${TLS_PORT:-18883}
export TLS_AT=127.0.0.1:$TLS_PORT
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf 'user_id,password,is_superuser\ngood,secret,false\n' >"$work/users.csv"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>"$work/openssl" || { cat "$work/openssl"; exit 1; }

refuse() {
    "$HARNESS" refuse --target "$ADDRESS" --broker-pid "$BROKER_PID" --duration "$SECONDS_EACH" --quiet "$@"
}
export -f refuse

chain='authentication=[{"mechanism":"password_based","backend":"built_in_database","bootstrap_file":"'$work'/users.csv","bootstrap_type":"plain"}]'
users="--set $chain"
ssl=listeners.ssl.default
tls="--listen tls://$TLS_AT --set $ssl.ssl_options.certfile=$work/cert.pem --set $ssl.ssl_options.keyfile=$work/key.pem"
# Half-open connections are to meet the patience for them, not an empty table.
patient="--set mqtt.idle_timeout=15s"

status=0
BROKER_ARGUMENTS=$users with_broker 2 refuse --attack logins --rate "$LOGINS" --attackers 64 \
    --username good --password secret --attack-username good --max-p99-ratio 2 --min-answered-rate 10 --max-lost 0 \
    --scenario refuse-logins || status=1
BROKER_ARGUMENTS=$tls with_broker 2 refuse --attack handshakes --rate "$HANDSHAKES" --attackers 64 \
    --attack-target "$TLS_AT" --max-p99-ratio 2 --find-rate 6 --min-answered-rate 10 --max-lost 0 \
    --scenario refuse-handshakes || status=1
for attack in silent slow; do
    BROKER_ARGUMENTS=$patient with_broker 2 refuse --attack "$attack" --sockets "$SOCKETS" \
        --max-p99-ratio 2 --max-lost 0 --scenario "refuse-$attack" || status=1
done
BROKER_ARGUMENTS=$tls with_broker 2 refuse --attack half-tls --sockets "$SOCKETS" --attack-target "$TLS_AT" \
    --max-p99-ratio 2 --max-lost 0 --scenario refuse-half-tls || status=1
exit "$status"

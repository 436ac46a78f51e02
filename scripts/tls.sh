#!/usr/bin/env bash
#
# What TLS costs: memory of an idle connection (plain, WebSocket, TLS 1.2 and 1.3, mutual TLS, WebSocket over
# TLS), CPU of a handshake, full (RSA 2048, ECDSA P-256) and resumed, and CPU of a message, beside mosquitto
# with OpenSSL in the same run, and beside FlashMQ if FLASHMQ names its program. One result of all goes to
# results/tls. Certificates are made for the run.
#
#   scripts/tls.sh [CONNECTIONS]      10000 unless said otherwise
#
# HANDSHAKES (2000), MESSAGES (50000), SETTLE (12 s) and ROUNDS (3) may be set; BROKER and HARNESS may name
# other programs than those of target/release, PEERS other brokers than `mosquitto`.

set -euo pipefail
cd "$(dirname "$0")/.."

connections=${1:-10000}
handshakes=${HANDSHAKES:-2000}
messages=${MESSAGES:-50000}
settle=${SETTLE:-12}
rounds=${ROUNDS:-3}
broker=${BROKER:-target/release/broker}
harness=${HARNESS:-target/release/bench-harness}
read -ra peers <<<"${PEERS-mosquitto} ${FLASHMQ:+flashmq}"
PATH=$PATH:/usr/sbin
dir=$(mktemp -d)
pids=()
ulimit -n "$(ulimit -Hn)"

finish() {
    [ "${#pids[@]}" -gt 0 ] && kill "${pids[@]}" 2>/dev/null
    wait
    rm -rf "$dir"
}
trap finish EXIT

# certificate NAME ARGUMENTS: a key of that kind and a certificate of the run's CA.
certificate() {
    local name=$1
    shift
    openssl req "$@" -nodes -keyout "$dir/$name.key" -out "$dir/$name.csr" -subj /CN=localhost 2>/dev/null
    printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' >"$dir/extensions"
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
        -days 2 -extfile "$dir/extensions" -out "$dir/$name.pem" 2>/dev/null
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca \
    -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
certificate rsa -newkey rsa:2048
certificate ec -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
certificate client -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
chmod 644 "$dir"/*.key
chmod 755 "$dir"

# Ports of each kind: 1883 plus that of the broker, and so on.
declare -A base=([millrace]=20000 [mosquitto]=30000 [flashmq]=40000)

settings_millrace() {
    cat <<END
[node]
cores = 2
data_dir = "$dir/data"
[http]
listen = "off"
[listeners.tcp.default]
bind = "127.0.0.1:21883"
[listeners.ws.default]
bind = "127.0.0.1:21884"
[listeners.ssl.rsa]
bind = "127.0.0.1:28883"
ssl_options = { certfile = "$dir/rsa.pem", keyfile = "$dir/rsa.key" }
[listeners.ssl.ec]
bind = "127.0.0.1:28884"
ssl_options = { certfile = "$dir/ec.pem", keyfile = "$dir/ec.key" }
[listeners.ssl.mutual]
bind = "127.0.0.1:28885"
ssl_options = { certfile = "$dir/ec.pem", keyfile = "$dir/ec.key", cacertfile = "$dir/ca.pem", verify = "verify_peer", fail_if_no_peer_cert = true }
[listeners.wss.ec]
bind = "127.0.0.1:28886"
ssl_options = { certfile = "$dir/ec.pem", keyfile = "$dir/ec.key" }
END
}

settings_mosquitto() {
    cat <<END
allow_anonymous true
max_queued_messages 100000
listener 31883 127.0.0.1
listener 31884 127.0.0.1
protocol websockets
listener 38883 127.0.0.1
certfile $dir/rsa.pem
keyfile $dir/rsa.key
listener 38884 127.0.0.1
certfile $dir/ec.pem
keyfile $dir/ec.key
listener 38885 127.0.0.1
certfile $dir/ec.pem
keyfile $dir/ec.key
cafile $dir/ca.pem
require_certificate true
END
}

settings_flashmq() {
    cat <<END
log_file $dir/flashmq.log
allow_anonymous true
thread_count 2
END
    local listener
    for listener in "mqtt 41883" "websockets 41884" "mqtt 48883 rsa" "mqtt 48884 ec" "mqtt 48885 ec mutual" \
        "websockets 48886 ec"; do
        # shellcheck disable=SC2086
        set -- $listener
        printf 'listen {\n  protocol %s\n  port %s\n  inet_protocol ip4\n  inet4_bind_address 127.0.0.1\n' "$1" "$2"
        [ -z "${3:-}" ] || printf '  fullchain %s\n  privkey %s\n' "$dir/$3.pem" "$dir/$3.key"
        [ -z "${4:-}" ] || printf '  client_verification_ca_file %s\n' "$dir/ca.pem"
        printf '}\n'
    done
}

start() {
    case $1 in
    millrace)
        settings_millrace >"$dir/conf.toml"
        "$broker" --config "$dir/conf.toml" >"$dir/log" 2>&1 &
        ;;
    mosquitto)
        settings_mosquitto >"$dir/conf"
        mosquitto -c "$dir/conf" >"$dir/log" 2>&1 &
        ;;
    flashmq)
        settings_flashmq >"$dir/conf"
        "$FLASHMQ" --config-file "$dir/conf" >"$dir/log" 2>&1 &
        ;;
    esac
    pid=$!
    pids=("$pid")
    for _ in $(seq 100); do
        (: <"/dev/tcp/127.0.0.1/$((${base[$1]} + 1883))") 2>/dev/null && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    sleep 1
    kill -0 "$pid" 2>/dev/null || {
        echo "$1 does not run:" >&2
        tail -n 20 "$dir/log" >&2
        return 1
    }
}

stop() {
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
}

# connect WHAT NAME PORT ARGUMENTS: against a process of its own, so that no memory is there before.
connect() {
    local what=$1 name=$2 port=$((${base[$2]} + $3))
    shift 3
    start "$name"
    # A run that fails is in the result as such.
    "$harness" connect --target "127.0.0.1:$port" --broker-pid "$pid" --broker-name "$name" --quiet \
        --rate 0 --in-flight 8 --lag-limit-ms 100000 --max-failed-connects 0 --max-disconnects 0 \
        --out "$dir/runs" --scenario "$what.$name" "$@" >"$dir/said" || true
    printf '  %-18s %-10s' "$what" "$name"
    awk '$1 ~ /^(user_bytes_per_connection|cpu_us_per_connect|failed_connects)$/ {printf " %s %s", $1, $2} END {print ""}' "$dir/said"
    stop
}

memory() {
    local name=$1
    connect memory_plain "$name" 1883 -n "$connections" --settle "$settle"
    connect memory_ws "$name" 1884 -n "$connections" --settle "$settle" --ws
    connect memory_tls12 "$name" 8884 -n "$connections" --settle "$settle" --tls --tls-version 1.2
    connect memory_tls13 "$name" 8884 -n "$connections" --settle "$settle" --tls
    connect memory_mutual "$name" 8885 -n "$connections" --settle "$settle" --tls \
        --tls-cert "$dir/client.pem" --tls-key "$dir/client.key"
    # Debian's mosquitto cannot open a listener for WebSocket over TLS.
    [ "$name" = mosquitto ] || connect memory_wss "$name" 8886 -n "$connections" --settle "$settle" --tls --ws
}

# The CPU of a connect, from TCP to CONNACK and its end.
handshakes() {
    local name=$1 version short
    connect connect_plain "$name" 1883 -n "$handshakes" --hold 0 --settle 0
    for version in 1.3 1.2; do
        short=tls${version/./}
        connect "full_rsa_$short" "$name" 8883 -n "$handshakes" --hold 0 --settle 0 --tls --tls-version "$version"
        connect "full_ecdsa_$short" "$name" 8884 -n "$handshakes" --hold 0 --settle 0 --tls --tls-version "$version"
        connect "resumed_$short" "$name" 8884 -n "$handshakes" --hold 0 --settle 0 --tls \
            --tls-version "$version" --tls-resume
    done
}

# QoS 1 through a relay, which speaks TLS 1.3 to the broker or nothing.
pass_messages() {
    local name=$1 kind arguments
    for kind in plain tls13; do
        start "$name"
        arguments=(--target "127.0.0.1:$((${base[$name]} + 8884))")
        [ "$kind" = tls13 ] || arguments=(--target "127.0.0.1:$((${base[$name]} + 1883))" --plain)
        "$harness" relay --listen 127.0.0.1:21999 "${arguments[@]}" >/dev/null &
        pids+=("$!")
        sleep 1
        "$harness" pubsub --target 127.0.0.1:21999 --broker-pid "$pid" --broker-name "$name" --quiet \
            -p 10 -s 10 -q 1 -m "$messages" -w 50 --out "$dir/runs" --scenario "messages_$kind.$name" \
            --lag-limit-ms 100000 --expect-loss 0 --expect-duplicates 0 >"$dir/said" || true
        printf '  %-18s %-10s' "messages_$kind" "$name"
        awk '$1 ~ /cpu_us_per_delivery$/ {printf " %s %s", $1, $2} END {print ""}' "$dir/said"
        stop
    done
}

for name in millrace "${peers[@]}"; do
    memory "$name"
done
# Interleaved, so that what else the machine does hits all alike.
for round in $(seq "$rounds"); do
    echo "round $round of $rounds"
    for name in millrace "${peers[@]}"; do
        handshakes "$name"
        pass_messages "$name"
    done
done
scripts/record_tls.py "$dir/runs" "$connections" "$handshakes" "$messages" "$rounds" \
    "$broker" ${FLASHMQ:+"$FLASHMQ"}

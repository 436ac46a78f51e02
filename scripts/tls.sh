#!/usr/bin/env bash
#
# What TLS costs: memory of an idle connection, CPU of a handshake, full (RSA 2048, ECDSA P-256) and
# resumed, and CPU of a message, beside mosquitto with OpenSSL in the same run. Results go to
# results/tls-*. Certificates are made for the run.
#
#   scripts/tls.sh [CONNECTIONS]      5000 unless said otherwise; HANDSHAKES (2000) may be set
#
# BROKER and HARNESS may name other programs than those of target/release.

set -euo pipefail
cd "$(dirname "$0")/.."

connections=${1:-5000}
handshakes=${HANDSHAKES:-2000}
broker=${BROKER:-target/release/broker}
harness=${HARNESS:-target/release/bench-harness}
dir=$(mktemp -d)
pids=()

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
chmod 644 "$dir"/*.key
chmod 755 "$dir"

cat >"$dir/millrace.toml" <<END
[node]
cores = 2
data_dir = "$dir/data"
[http]
listen = "off"
[listeners.tcp.default]
bind = "127.0.0.1:21883"
[listeners.ssl.rsa]
bind = "127.0.0.1:28883"
ssl_options = { certfile = "$dir/rsa.pem", keyfile = "$dir/rsa.key" }
[listeners.ssl.ec]
bind = "127.0.0.1:28884"
ssl_options = { certfile = "$dir/ec.pem", keyfile = "$dir/ec.key" }
END

cat >"$dir/mosquitto.conf" <<END
allow_anonymous true
max_queued_messages 100000
listener 31883 127.0.0.1
listener 38883 127.0.0.1
certfile $dir/rsa.pem
keyfile $dir/rsa.key
listener 38884 127.0.0.1
certfile $dir/ec.pem
keyfile $dir/ec.key
END

start() {
    case $1 in
    millrace) "$broker" --config "$dir/millrace.toml" >"$dir/log" 2>&1 & ;;
    mosquitto) mosquitto -c "$dir/mosquitto.conf" >"$dir/log" 2>&1 & ;;
    esac
    pid=$!
    pids=("$pid")
    sleep 2
}

stop() {
    kill "${pids[@]}"
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
}

# connect SCENARIO PORT ARGUMENTS: against a process of its own, so that no memory is there before.
connect() {
    local name=$1 port=$2
    shift 2
    start "$name"
    "$harness" connect --target "127.0.0.1:$port" --broker-pid "$pid" --broker-name "$name" --quiet \
        --rate 0 --in-flight 8 --lag-limit-ms 100000 --max-failed-connects 0 "$@" |
        grep -E '^ +(user_bytes_per_connection|connected|cpu_us_per_connect|tls_handshakes|failed_connects) ' || true
    stop
}

for name in millrace mosquitto; do
    first=$([ "$name" = millrace ] && echo 2 || echo 3)
    echo "$name: idle connections, plain, TLS 1.2, TLS 1.3"
    connect "$name" "${first}1883" -n "$connections" --settle 12 --scenario "tls-memory-plain-$name"
    for version in 1.2 1.3; do
        connect "$name" "${first}8884" -n "$connections" --settle 12 --tls --tls-version "$version" \
            --scenario "tls-memory-$version-$name"
    done
    echo "$name: full handshakes, RSA and ECDSA, and resumed ones, TLS 1.3 and 1.2"
    for version in 1.3 1.2; do
        connect "$name" "${first}8883" -n "$handshakes" --hold 0 --settle 0 --tls --tls-version "$version" \
            --scenario "tls-full-rsa-$version-$name"
        connect "$name" "${first}8884" -n "$handshakes" --hold 0 --settle 0 --tls --tls-version "$version" \
            --scenario "tls-full-ecdsa-$version-$name"
        connect "$name" "${first}8884" -n "$handshakes" --hold 0 --settle 0 --tls --tls-version "$version" \
            --tls-resume --scenario "tls-resumed-$version-$name"
    done
    echo "$name: messages of QoS 1, plain and TLS 1.3, both by a relay"
    for kind in plain tls; do
        start "$name"
        if [ "$kind" = plain ]; then
            "$harness" relay --listen 127.0.0.1:41883 --target "127.0.0.1:${first}1883" --plain &
        else
            "$harness" relay --listen 127.0.0.1:41883 --target "127.0.0.1:${first}8884" &
        fi
        pids+=("$!")
        sleep 1
        "$harness" pubsub --target 127.0.0.1:41883 --broker-pid "$pid" --broker-name "$name" --quiet \
            -p 10 -s 10 -q 1 -m 50000 -w 50 --scenario "tls-messages-$kind-$name" |
            grep -E '^ +(broker_)?cpu_us_per_delivery ' || true
        stop
    done
done

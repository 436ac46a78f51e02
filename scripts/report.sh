#!/usr/bin/env bash
# Asks a running broker (BROKER_PID, with its standard error in the file BROKER_ERR) for its tables and
# counters, and prints them: one line of JSON.
set -eu

reports() {
    grep -c '^{' "$BROKER_ERR" || true
}

before=$(reports)
kill -USR1 "$BROKER_PID"
for _ in $(seq 200); do
    [ "$(reports)" -gt "$before" ] && break
    sleep 0.05
done
[ "$(reports)" -gt "$before" ]
grep '^{' "$BROKER_ERR" | tail -n 1

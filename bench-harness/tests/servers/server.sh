#!/usr/bin/env bash
# Starts one real server for a test, on 127.0.0.1 with its data in a directory of the test's, and ends
# it. `scripts/lib.sh: install_servers` has installed the programs.
#
#   server.sh NAME DIR PORT start   returns when the server answers, or with 1 after a while
#   server.sh NAME DIR PORT stop    ends what start began, by the ids it wrote down
#
# Names: redis, redis-cluster (PORT to PORT+2), mariadb, postgres, ldap, mongodb (a stand-in).
set -eu
NAME=$1 DIR=$2 PORT=$3 VERB=$4
SERVERS=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/millrace-test-tools/servers
POSTGRES=/usr/lib/postgresql/15/bin

spawn() { # spawn TAG COMMAND...
    local tag=$1
    shift
    setsid nohup "$@" >>"$DIR/$tag.log" 2>&1 </dev/null &
    echo $! >"$DIR/$tag.pid"
}

ready() { # ready SECONDS COMMAND...
    local end=$(($(date +%s) + $1))
    shift
    until "$@" >>"$DIR/ready.log" 2>&1; do
        if [ "$(date +%s)" -ge "$end" ]; then
            echo "$NAME is not ready; the ends of its logs:" >&2
            tail -n 5 "$DIR"/*.log >&2
            exit 1
        fi
        sleep 0.05
    done
}

as() { # as USER COMMAND...
    local user=$1
    shift
    setpriv --reuid="$user" --regid="$(id -gn "$user")" --init-groups -- "$@"
}

start_redis() {
    spawn redis redis-server --bind 127.0.0.1 --port "$PORT" --dir "$DIR" --save '' --appendonly no --requirepass secret
    ready 20 redis-cli -p "$PORT" -a secret --no-auth-warning ping
}

start_redis_cluster() {
    local i nodes=()
    for i in 0 1 2; do
        mkdir -p "$DIR/n$i"
        spawn "redis$i" redis-server --bind 127.0.0.1 --port $((PORT + i)) --dir "$DIR/n$i" --save '' \
            --cluster-enabled yes --cluster-node-timeout 2000
        nodes+=("127.0.0.1:$((PORT + i))")
    done
    for i in 0 1 2; do ready 20 redis-cli -p $((PORT + i)) ping; done
    redis-cli --cluster create "${nodes[@]}" --cluster-yes >"$DIR/create.log"
    for i in 0 1 2; do
        ready 30 bash -c "redis-cli -p $((PORT + i)) cluster info | grep -q cluster_state:ok"
    done
}

start_mariadb() {
    mkdir -p "$DIR/data"
    chown mysql: "$DIR" "$DIR/data"
    mariadb-install-db --no-defaults --user=mysql --datadir="$DIR/data" \
        --auth-root-authentication-method=normal --skip-test-db >"$DIR/init.log" 2>&1
    # One statement a line.
    cat >"$DIR/init.sql" <<SQL
CREATE DATABASE IF NOT EXISTS mqtt;
CREATE USER IF NOT EXISTS 'mqtt'@'127.0.0.1' IDENTIFIED BY 'secret';
CREATE USER IF NOT EXISTS 'mqtt'@'localhost' IDENTIFIED BY 'secret';
GRANT ALL ON mqtt.* TO 'mqtt'@'127.0.0.1';
GRANT ALL ON mqtt.* TO 'mqtt'@'localhost';
SQL
    chown mysql: "$DIR/init.sql"
    spawn mariadb mariadbd --no-defaults --user=mysql --datadir="$DIR/data" --socket="$DIR/s" \
        --pid-file="$DIR/mysqld.id" --bind-address=127.0.0.1 --port="$PORT" \
        --innodb-buffer-pool-size=16M --innodb-log-file-size=4M --innodb-flush-log-at-trx-commit=0 \
        --performance-schema=OFF --init-file="$DIR/init.sql"
    ready 60 mariadb --no-defaults --protocol=tcp -h127.0.0.1 -P"$PORT" -umqtt -psecret mqtt -e 'select 1'
}

start_postgres() {
    chown postgres: "$DIR"
    echo secret >"$DIR/pw"
    chown postgres: "$DIR/pw"
    as postgres $POSTGRES/initdb -D "$DIR/data" -U mqtt --pwfile="$DIR/pw" -A scram-sha-256 -E UTF8 \
        --no-sync --no-instructions >"$DIR/init.log" 2>&1
    spawn postgres setpriv --reuid=postgres --regid=postgres --init-groups -- $POSTGRES/postgres \
        -D "$DIR/data" -c listen_addresses=127.0.0.1 -c port="$PORT" -c unix_socket_directories="$DIR" \
        -c fsync=off -c shared_buffers=16MB
    export PGPASSWORD=secret
    ready 30 $POSTGRES/psql -h 127.0.0.1 -p "$PORT" -U mqtt -d postgres -c 'select 1'
    $POSTGRES/createdb -h 127.0.0.1 -p "$PORT" -U mqtt mqtt
}

start_ldap() {
    mkdir -p "$DIR/db"
    cat >"$DIR/slapd.conf" <<CONF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile $DIR/slapd.id
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 16777216
suffix dc=mqtt,dc=test
rootdn cn=admin,dc=mqtt,dc=test
rootpw secret
directory $DIR/db
access to attrs=userPassword by self write by anonymous auth by * none
access to * by * read
CONF
    slapadd -f "$DIR/slapd.conf" -l "$DIR/init.ldif" >"$DIR/init.log" 2>&1
    spawn slapd slapd -d 0 -f "$DIR/slapd.conf" -h "ldap://127.0.0.1:$PORT"
    ready 20 ldapwhoami -x -H "ldap://127.0.0.1:$PORT"
}

# SecantusDB speaks MongoDB's protocol; mongod itself is in none of the package sources used here.
start_mongodb() {
    spawn mongodb "$SERVERS/mongodb/bin/secantusd-py" --port "$PORT" --storage-path "$DIR/data"
    ready 60 "$SERVERS/mongodb/bin/python" -c "
import pymongo
pymongo.MongoClient('127.0.0.1', $PORT, serverSelectionTimeoutMS=500).admin.command('ping')"
}

tree() { # the processes of these and below, while they live
    local pid
    for pid; do
        [ -d "/proc/$pid" ] || continue
        echo "$pid"
        # shellcheck disable=SC2046
        tree $(cat "/proc/$pid"/task/*/children 2>/dev/null)
    done
}

stop() {
    local pids pid i
    # shellcheck disable=SC2046
    pids=$(tree $(cat "$DIR"/*.pid 2>/dev/null))
    for pid in $pids; do kill "$pid" 2>/dev/null || :; done
    for ((i = 0; i < 100; i++)); do
        local left=
        for pid in $pids; do [ -d "/proc/$pid" ] && left="$left $pid"; done
        [ -z "$left" ] && break
        sleep 0.05
    done
    for pid in ${left:-}; do kill -9 "$pid" 2>/dev/null || :; done
    rm -f "$DIR"/*.pid
}

case $VERB in
start) "start_${NAME//-/_}" ;;
stop) stop ;;
*) exit 2 ;;
esac

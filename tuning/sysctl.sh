#!/usr/bin/env bash
# Kernel settings for a machine that holds a million MQTT connections, each with its reason.
#
#   tuning/sysctl.sh           shows what is and what is wanted; changes nothing
#   tuning/sysctl.sh --check   the same in short; exit code 1 if something is missing
#   tuning/sysctl.sh --dry-run what --apply would change, and to what; changes nothing
#   tuning/sysctl.sh --apply   changes what is missing, until the next boot (as root), and remembers
#                              what was before in $STATE (/run/millrace-sysctl.undo)
#   tuning/sysctl.sh --undo    puts back what was before (as root)
#   tuning/sysctl.sh --print   the wanted settings as a file for /etc/sysctl.d
#
# Settings that this kernel does not have are passed over. A limit that is already higher stays as it
# is. Exit codes: 0, 1 something is missing or was refused, 2 wrong usage or not root.
# PROC (/proc/sys) is where the settings are.

set -u

STATE=${STATE:-/run/millrace-sysctl.undo}
PROC=${PROC:-/proc/sys}

# Memory of the machine in pages, the unit of tcp_mem.
pages=$(awk -v page="$(getconf PAGESIZE)" '/^MemTotal:/ {printf "%d", $2 * 1024 / page}' /proc/meminfo)

# key | rule | value | reason. `min`: each number at least so high; `set`: exactly so; `max`: at most.
settings() {
    cat <<END
net.core.somaxconn|min|32768|cuts the backlog of every listener; when devices reconnect together they wait there for a moment instead of sending their SYN again a second later
net.ipv4.tcp_max_syn_backlog|min|16384|half-open connections a listener may have before SYN cookies take over
net.ipv4.tcp_syncookies|min|1|what keeps a SYN flood from filling that backlog
net.core.netdev_max_backlog|min|16384|packets that may wait between a network card and a CPU; a burst of small MQTT packets overruns the default of 1000
net.ipv4.ip_local_port_range|set|1024 65535|load generators only: each source address can have that many connections to one broker
net.ipv4.ip_local_reserved_ports|set|1883,8083,8084,8883,18083|so that no outgoing connection takes a port of the broker, which the range above includes
net.ipv4.tcp_tw_reuse|set|1|load generators only: a port in TIME_WAIT may be used for a new outgoing connection
net.ipv4.tcp_max_tw_buckets|min|1048576|closed connections that are remembered; beyond it the kernel forgets early and says so
net.ipv4.tcp_fin_timeout|max|15|seconds for which a connection that the broker closed waits for its peer's FIN; devices that lost their network never send it
net.ipv4.tcp_max_orphans|min|262144|such connections at once; beyond it they are reset
net.ipv4.tcp_slow_start_after_idle|set|0|devices are idle between messages; their window need not be learnt anew each time
fs.nr_open|min|2097152|the most that LimitNOFILE and ulimit -n may say; it bounds each core's table of connections
fs.file-max|min|4194304|open files of the whole machine; a connection is one, and so is its other end in a local load test
net.ipv4.tcp_mem|min|$((pages / 8)) $((pages / 4)) $((pages / 2))|pages of data in all TCP buffers together: from the second number on, windows shrink; beyond the third, data is dropped. Here an eighth, a quarter and half of the memory. An idle connection holds no buffer
net.ipv4.tcp_rmem|min|4096 131072 6291456|bytes a connection may have received and unread; the buffer grows to what is used, so a million idle sockets do not pay for it
net.ipv4.tcp_wmem|min|4096 16384 4194304|bytes a connection may have unsent; likewise
net.netfilter.nf_conntrack_max|min|2097152|where connection tracking is loaded, every connection needs an entry, and at the limit packets are dropped. Better still: do not track the broker's ports
net.netfilter.nf_conntrack_tcp_timeout_time_wait|max|30|seconds for which a closed connection keeps its entry
vm.max_map_count|min|262144|mappings of one process: rings, buffers and the allocator's segments
vm.swappiness|max|1|a core that waits for a page from disk keeps all its connections waiting
END
}

huge_pages=${HUGE_PAGES:-/sys/kernel/mm/transparent_hugepage/enabled}
huge_pages_reason="with always, the kernel fills tables that are sparse on purpose with whole 2 MiB pages"

current() {
    local path=$PROC/${1//.//}
    [ -r "$path" ] && tr -s '\t ' ' ' <"$path"
}

# holds RULE IS WANTED
holds() {
    local rule=$1
    local -a is wanted
    read -ra is <<<"$2"
    read -ra wanted <<<"$3"
    if [ "$rule" = set ]; then
        [ "${is[*]}" = "${wanted[*]}" ]
        return
    fi
    local at
    for at in "${!wanted[@]}"; do
        case $rule in
            min) [ "${is[at]:-0}" -ge "${wanted[at]}" ] || return ;;
            max) [ "${is[at]:-0}" -le "${wanted[at]}" ] || return ;;
        esac
    done
}

# What to write: the wanted value, but no number of a `min` lower than it is.
target() {
    local rule=$1
    local -a is wanted
    read -ra is <<<"$2"
    read -ra wanted <<<"$3"
    if [ "$rule" = min ]; then
        local at
        for at in "${!wanted[@]}"; do
            [ "${is[at]:-0}" -gt "${wanted[at]}" ] && wanted[at]=${is[at]}
        done
    fi
    echo "${wanted[*]}"
}

missing=0
refused=0

visit() {
    local key rule wanted reason is
    while IFS='|' read -r key rule wanted reason; do
        if ! is=$(current "$key"); then
            [ "$mode" = show ] && printf -- '-       %s: this kernel does not have it\n' "$key"
            continue
        fi
        if holds "$rule" "$is" "$wanted"; then
            [ "$mode" = show ] && printf 'ok      %s = %s\n        %s\n' "$key" "$is" "$reason"
            continue
        fi
        missing=$((missing + 1))
        case $mode in
            show)
                printf 'MISSING %s = %s, wanted: %s\n        %s\n' "$key" "${is:-(empty)}" \
                    "$(target "$rule" "$is" "$wanted")" "$reason"
                ;;
            check) printf '%s is %s, wanted: %s\n' "$key" "${is:-(empty)}" "$(target "$rule" "$is" "$wanted")" ;;
            dry-run) printf '%s: %s -> %s\n' "$key" "${is:-(empty)}" "$(target "$rule" "$is" "$wanted")" ;;
            apply) apply "$key" "$is" "$(target "$rule" "$is" "$wanted")" ;;
        esac
    done < <(settings)
}

# The first value that was ever found is the one to go back to.
remember() {
    grep -q "^$1 = " "$STATE" 2>/dev/null || printf '%s = %s\n' "$1" "$2" >>"$STATE"
}

apply() {
    if { echo "$3" >"$PROC/${1//.//}"; } 2>/dev/null; then
        remember "$1" "$2"
        printf '%s: %s -> %s\n' "$1" "${2:-(empty)}" "$3"
    else
        refused=$((refused + 1))
        printf '%s: the kernel refused %s; it stays %s\n' "$1" "$3" "${2:-(empty)}"
    fi
}

undo() {
    [ -r "$STATE" ] || {
        echo "nothing was changed: there is no $STATE"
        return
    }
    local line key before is path left=
    while IFS= read -r line; do
        key=${line%% = *}
        before=${line#* = }
        path=$PROC/${key//.//}
        [ "$key" = huge_pages ] && path=$huge_pages
        is=$(tr -s '\t ' ' ' <"$path")
        # An empty list is written as an empty line.
        if { echo "$before" >"$path"; } 2>/dev/null; then
            printf '%s: %s -> %s\n' "$key" "${is:-(empty)}" "${before:-(empty)}"
        else
            refused=$((refused + 1))
            left+="$line"$'\n'
            printf '%s: the kernel refused %s; it stays %s\n' "$key" "${before:-(empty)}" "${is:-(empty)}"
        fi
    done <"$STATE"
    if [ -n "$left" ]; then printf '%s' "$left" >"$STATE"; else rm -f "$STATE"; fi
}

visit_huge_pages() {
    [ -r "$huge_pages" ] || return 0
    if ! grep -q '\[always\]' "$huge_pages"; then
        [ "$mode" = show ] && printf 'ok      transparent huge pages: %s\n        %s\n' "$(cat "$huge_pages")" "$huge_pages_reason"
        return 0
    fi
    missing=$((missing + 1))
    case $mode in
        show) printf 'MISSING transparent huge pages: always, wanted: madvise\n        %s\n' "$huge_pages_reason" ;;
        check) echo "transparent huge pages are always on, wanted: madvise" ;;
        dry-run) echo "transparent huge pages: always -> madvise" ;;
        apply)
            if { echo madvise >"$huge_pages"; } 2>/dev/null; then
                remember huge_pages always
                echo "transparent huge pages: always -> madvise"
            else
                refused=$((refused + 1))
                echo "transparent huge pages: refused; they stay always"
            fi
            ;;
    esac
}

print() {
    echo "# Made by tuning/sysctl.sh --print. Keep as /etc/sysctl.d/90-millrace.conf."
    local key rule wanted reason is
    while IFS='|' read -r key rule wanted reason; do
        is=$(current "$key") || continue
        printf '# %s\n%s = %s\n' "$reason" "$key" "$(target "$rule" "$is" "$wanted")"
    done < <(settings)
}

case ${1:-} in
    "") mode=show ;;
    --check) mode=check ;;
    --dry-run) mode=dry-run ;;
    --apply) mode=apply ;;
    --undo) mode=undo ;;
    --print) mode=print ;;
    *)
        sed -n '2,16s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
if [ "$mode" = print ]; then
    print
    exit
fi
if { [ "$mode" = apply ] || [ "$mode" = undo ]; } && [ "$(id -u)" -ne 0 ]; then
    echo "changing kernel settings needs root: run it with sudo" >&2
    exit 2
fi
if [ "$mode" = undo ]; then
    undo
    [ "$refused" -eq 0 ]
    exit
fi
visit
visit_huge_pages
case $mode in
    show) echo "$missing settings are missing; --apply sets them until the next boot" ;;
    dry-run) echo "$missing settings would be changed; nothing was" ;;
    check) [ "$missing" -eq 0 ] && echo "every setting is as wanted" ;;
    apply) echo "$((missing - refused)) settings were changed, $refused were refused" ;;
esac
case $mode in
    check) [ "$missing" -eq 0 ] ;;
    apply) [ "$refused" -eq 0 ] ;;
esac

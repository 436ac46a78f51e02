#!/usr/bin/env bash
# What of a machine's hardware a broker under load wants otherwise: the queues of the network card, which
# CPUs its interrupts go to, the clock of the CPUs, huge pages. Each with its reason.
#
#   tuning/hardware.sh [--cpus LIST] [--interface NAME]            shows what is and what is wanted
#   tuning/hardware.sh --dry-run [...]   what --apply would change, and to what; changes nothing
#   tuning/hardware.sh --apply [...]     changes it until the next boot (as root), and remembers what was
#                                        before in $STATE (/run/millrace-hardware.undo)
#   tuning/hardware.sh --undo            puts back what was before (as root)
#
# LIST: CPUs for the card's interrupts, as 0-3,8 (default: all that are online). Where the broker has
# fewer cores than there are CPUs, name those it does not use. NAME: default is the card of the default
# route. A machine without such a card, or a virtual one, has less to change: what is not there is passed
# over. Exit codes: 0, 1 something was refused, 2 wrong usage or not root. SYS (/sys) and PROC (/proc) are
# where the settings are.

set -u

STATE=${STATE:-/run/millrace-hardware.undo}
SYS=${SYS:-/sys}
PROC=${PROC:-/proc}
# Entries a receive queue's table of flows wants: the connections that are busy at once.
FLOWS=32768

mode=show
cpus=
interface=
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run | --apply | --undo) mode=${1#--} ;;
        --cpus | --interface)
            [ $# -gt 1 ] || set -- --help
            case $1 in --cpus) cpus=$2 ;; --interface) interface=$2 ;; esac
            shift
            ;;
        *)
            sed -n '2,18s/^# \{0,1\}//p' "$0" >&2
            exit 2
            ;;
    esac
    shift
done
if { [ "$mode" = apply ] || [ "$mode" = undo ]; } && [ "$(id -u)" -ne 0 ]; then
    echo "changing hardware settings needs root: run it with sudo" >&2
    exit 2
fi

missing=0
refused=0

# want PATH VALUE REASON: one setting that is a file.
want() {
    local path=$1 wanted=$2 reason=$3 is
    [ -w "$path" ] || [ -r "$path" ] || return 0
    is=$(tr -s '\t ' ' ' <"$path" 2>/dev/null) || return 0
    # The kernel marks the chosen one of several.
    case $is in *"["*"]"*) is=${is#*[} is=${is%%]*} ;; esac
    if [ "$is" = "$wanted" ]; then
        [ "$mode" = show ] && printf 'ok      %s = %s\n        %s\n' "$path" "$is" "$reason"
        return 0
    fi
    missing=$((missing + 1))
    case $mode in
        show) printf 'MISSING %s = %s, wanted: %s\n        %s\n' "$path" "${is:-(empty)}" "$wanted" "$reason" ;;
        dry-run) printf '%s: %s -> %s\n' "$path" "${is:-(empty)}" "$wanted" ;;
        apply)
            if { echo "$wanted" >"$path"; } 2>/dev/null; then
                grep -q "^$path = " "$STATE" 2>/dev/null || printf '%s = %s\n' "$path" "$is" >>"$STATE"
                printf '%s: %s -> %s\n' "$path" "${is:-(empty)}" "$wanted"
            else
                refused=$((refused + 1))
                printf '%s: refused %s; it stays %s\n' "$path" "$wanted" "${is:-(empty)}"
            fi
            ;;
    esac
}

undo() {
    [ -r "$STATE" ] || {
        echo "nothing was changed: there is no $STATE"
        return
    }
    local line path before left=
    while IFS= read -r line; do
        path=${line%% = *}
        before=${line#* = }
        if { echo "$before" >"$path"; } 2>/dev/null; then
            printf '%s: back to %s\n' "$path" "${before:-(empty)}"
        else
            refused=$((refused + 1))
            left+="$line"$'\n'
            printf '%s: refused %s\n' "$path" "$before"
        fi
    done <"$STATE"
    if [ -n "$left" ]; then printf '%s' "$left" >"$STATE"; else rm -f "$STATE"; fi
}

# The numbers of a list such as 0-3,8.
numbers() {
    local part
    for part in ${1//,/ }; do
        seq "${part%-*}" "${part#*-}"
    done
}

# The mask of a list of CPUs, in groups of 32 bits as the kernel writes them.
mask() {
    local -a words=()
    local cpu at text=
    for cpu in $(numbers "$1"); do
        words[cpu / 32]=$((${words[cpu / 32]:-0} | 1 << (cpu % 32)))
    done
    for ((at = ${#words[@]} ? $(printf '%s\n' "${!words[@]}" | tail -n 1) : 0; at >= 0; at--)); do
        text+=$(printf '%s%x' "${text:+,}" "${words[at]:-0}")
    done
    echo "$text"
}

governors() {
    local path
    for path in "$SYS"/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
        [ -e "$path" ] || continue
        want "$path" performance "a core that sleeps between two packets is clocked down, and answers the next one late"
    done
}

huge_pages() {
    want "$SYS/kernel/mm/transparent_hugepage/enabled" madvise \
        "with always, the kernel fills tables that are sparse on purpose with whole 2 MiB pages; the broker asks for none, so reserved ones (vm.nr_hugepages) help nothing"
    want "$SYS/kernel/mm/transparent_hugepage/defrag" madvise \
        "a core must not wait while the kernel moves pages about to make a huge one"
}

# One interrupt a queue, each on a CPU of its own, in turns.
interrupts() {
    local at=0 irq
    local -a list
    mapfile -t list < <(numbers "$cpus")
    for irq in "$SYS/class/net/$interface/device/msi_irqs"/*; do
        [ -e "$irq" ] || continue
        want "$PROC/irq/${irq##*/}/smp_affinity_list" "${list[at % ${#list[@]}]}" \
            "packets are handled on the CPU that their interrupt goes to: spread them, and keep them where they are"
        at=$((at + 1))
    done
    [ "$at" -gt 1 ] && command -v systemctl >/dev/null && systemctl is-active --quiet irqbalance 2>/dev/null &&
        echo "NOTE: irqbalance runs and will move the interrupts again: systemctl stop irqbalance"
    return 0
}

# A card with fewer queues than CPUs: the kernel spreads its packets.
steering() {
    local queue queues=0
    for queue in "$SYS/class/net/$interface"/queues/rx-*; do
        [ -e "$queue" ] && queues=$((queues + 1))
    done
    [ "$queues" -gt 0 ] || return 0
    if [ "$queues" -lt "$(numbers "$cpus" | wc -l)" ]; then
        for queue in "$SYS/class/net/$interface"/queues/rx-*; do
            want "$queue/rps_cpus" "$(mask "$cpus")" \
                "the card has $queues receive queues: let other CPUs take packets from them too"
            want "$queue/rps_flow_cnt" "$((FLOWS / queues))" \
                "and take them to the CPU where their connection is served"
        done
        want "$PROC/sys/net/core/rps_sock_flow_entries" "$FLOWS" "the table that says which CPU that is"
    fi
}

# As many queues as CPUs, and rings that hold a burst.
queues() {
    command -v ethtool >/dev/null || {
        echo "NOTE: ethtool is not there: queues and rings of $interface were not looked at"
        return 0
    }
    local most is
    most=$(ethtool -l "$interface" 2>/dev/null | awk '/^Combined:/ {print $2; exit}')
    is=$(ethtool -l "$interface" 2>/dev/null | awk '/^Combined:/ {last = $2} END {print last}')
    by_ethtool "$is" "$most" -L combined "one queue a CPU, so that no CPU handles the packets of all"
    most=$(ethtool -g "$interface" 2>/dev/null | awk '/^RX:/ {print $2; exit}')
    is=$(ethtool -g "$interface" 2>/dev/null | awk '/^RX:/ {last = $2} END {print last}')
    by_ethtool "$is" "$most" -G rx "a storm of reconnects comes as a burst: a short ring drops it, and each drop is a second's wait"
}

# by_ethtool IS MOST OPTION NAME REASON
by_ethtool() {
    local is=$1 most=$2 option=$3 name=$4 reason=$5
    case $is$most in *[!0-9]* | "") return 0 ;; esac
    if [ "$is" -ge "$most" ]; then
        [ "$mode" = show ] && printf 'ok      %s %s of %s = %s\n        %s\n' "$option" "$name" "$interface" "$is" "$reason"
        return 0
    fi
    missing=$((missing + 1))
    case $mode in
        show) printf 'MISSING %s %s of %s = %s, wanted: %s\n        %s\n' "$option" "$name" "$interface" "$is" "$most" "$reason" ;;
        dry-run) printf 'ethtool %s %s %s: %s -> %s\n' "$option" "$interface" "$name" "$is" "$most" ;;
        apply)
            if ethtool "$option" "$interface" "$name" "$most" 2>/dev/null; then
                printf 'ethtool %s %s %s: %s -> %s (back: ethtool %s %s %s %s)\n' \
                    "$option" "$interface" "$name" "$is" "$most" "$option" "$interface" "$name" "$is"
            else
                refused=$((refused + 1))
                printf 'ethtool %s %s %s %s was refused; it stays %s\n' "$option" "$interface" "$name" "$most" "$is"
            fi
            ;;
    esac
}

if [ "$mode" = undo ]; then
    undo
    [ "$refused" -eq 0 ]
    exit
fi
cpus=${cpus:-$(cat "$SYS/devices/system/cpu/online" 2>/dev/null || echo 0)}
interface=${interface:-$(awk '$2 == "00000000" {print $1; exit}' "$PROC/net/route" 2>/dev/null)}
governors
huge_pages
if [ -n "$interface" ] && [ -e "$SYS/class/net/$interface" ]; then
    queues
    interrupts
    steering
else
    echo "NOTE: no network card was found; name it with --interface"
fi
case $mode in
    show) echo "$missing settings are missing; --apply sets them until the next boot" ;;
    dry-run) echo "$missing settings would be changed; nothing was" ;;
    apply) echo "$((missing - refused)) settings were changed, $refused were refused" ;;
esac
[ "$refused" -eq 0 ]

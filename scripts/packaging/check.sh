#!/usr/bin/env bash
# Whether a tarball of make-dist.sh is one to install from: it is unpacked, installed below a folder, and
# looked at with the tools that will read it.
#
#   scripts/packaging/check.sh TARBALL
set -euo pipefail

tarball=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

(cd "$(dirname "$tarball")" && sha256sum --quiet -c "$(basename "$tarball").sha256")
tar -C "$work" -xzf "$tarball"
tree=$(echo "$work"/millrace-*)
DESTDIR=$work/root "$tree/install.sh"
root=$work/root/usr/local
broker=$root/bin/broker

# The program is there and whole, and needs nothing beside the C library.
"$broker" --version | grep -q '^millrace ' || fail "the program does not run"
others=$(ldd "$broker" | awk '{print $1}' |
    grep -vE '^(linux-vdso|libc|libm|libdl|libpthread|librt|libgcc_s)\.so|/ld-linux' || true)
[ -z "$others" ] || fail "the program needs $others"
echo "ok: the program needs glibc and the compiler's libgcc_s only"

# The example of a configuration is one.
"$broker" --config "$work/root/etc/millrace/millrace.toml" --data-dir "$work/data" \
    --listen tcp://127.0.0.1:0 --set http.listen=127.0.0.1:0 --check >"$work/check" ||
    { cat "$work/check" && fail "the example of a configuration"; }
echo "ok: the example of a configuration is valid"

# systemd looks whether the program of a unit is there.
if command -v systemd-analyze >/dev/null; then
    unit=$work/millrace.service
    sed "s|^ExecStart=/usr/local|ExecStart=$root|" "$work/root/etc/systemd/system/millrace.service" >"$unit"
    # Manual pages that it names are not installed where it looks.
    said=$(systemd-analyze verify --man=no "$unit" 2>&1 | grep -F "millrace.service" || true)
    [ -z "$said" ] || fail "systemd says: $said"
    exposed=$(systemd-analyze security --offline=true "$unit" 2>/dev/null |
        sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p' || true)
    echo "ok: systemd finds nothing wrong with the unit (exposure ${exposed:-not told})"
else
    echo "NOTE: there is no systemd-analyze: the unit was not verified"
fi

page=$root/share/man/man1/broker.1
if command -v man >/dev/null; then
    said=$(MANWIDTH=100 man --warnings=w -E UTF-8 -l "$page" 2>&1 >"$work/page")
    [ -z "$said" ] || fail "man says: $said"
    for part in "clients kick" "--data-dir" "EXIT CODES" "SIGHUP"; do
        grep -qF -- "$part" "$work/page" || fail "the manual does not tell of $part"
    done
    echo "ok: the manual renders, $(wc -l <"$work/page") lines"
fi
if command -v mandoc >/dev/null; then
    mandoc -T lint -W error "$page" || fail "mandoc finds faults"
    echo "ok: mandoc finds no errors in the manual"
fi

# What bash offers after some words.
offers() {
    bash --norc -c '
        source "$1"
        shift
        complete -p broker >/dev/null || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        _broker broker "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$root/share/bash-completion/completions/broker" "$@"
}
offers broker d | grep -qx doctor || fail "bash does not complete sub-commands"
offers broker --c | grep -qx -- --config || fail "bash does not complete options"
offers broker ctl clients k | grep -qx kick || fail "bash does not complete commands of ctl"
echo "ok: bash completes sub-commands, options and commands of ctl"
if command -v zsh >/dev/null; then
    zsh -n "$root/share/zsh/site-functions/_broker" || fail "zsh cannot read its completions"
fi
for file in share/fish/vendor_completions.d/broker.fish share/doc/millrace/faq.md share/millrace/sysctl.sh; do
    [ -s "$root/$file" ] || fail "$file is missing"
done

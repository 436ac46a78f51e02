#!/bin/sh
# Installs what lies beside it: below PREFIX (/usr/local), the unit for systemd, and a configuration where
# there is none. DESTDIR is put before all paths, for those who build packages.
#
#   sudo ./install.sh
set -eu
cd "$(dirname "$0")"
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}

install -d "$root$prefix/bin" "$root$prefix/share/man/man1" "$root$prefix/share/doc/millrace" \
    "$root$prefix/share/bash-completion/completions" "$root$prefix/share/zsh/site-functions" \
    "$root$prefix/share/fish/vendor_completions.d" "$root$prefix/share/millrace" \
    "$root/etc/systemd/system" "$root/etc/millrace"
# A running program cannot be written to, but replaced.
install -m 755 bin/broker "$root$prefix/bin/broker.new"
mv "$root$prefix/bin/broker.new" "$root$prefix/bin/broker"
install -m 644 man/*.1 "$root$prefix/share/man/man1"
install -m 644 completions/broker.bash "$root$prefix/share/bash-completion/completions/broker"
install -m 644 completions/_broker "$root$prefix/share/zsh/site-functions/_broker"
install -m 644 completions/broker.fish "$root$prefix/share/fish/vendor_completions.d/broker.fish"
install -m 644 README.md LICENSE-* doc/* "$root$prefix/share/doc/millrace"
install -m 755 tuning/sysctl.sh "$root$prefix/share/millrace/sysctl.sh"
sed "s|/usr/local/|$prefix/|g" systemd/millrace.service >"$root/etc/systemd/system/millrace.service"
[ -e "$root/etc/millrace/millrace.toml" ] || install -m 640 etc/millrace.toml "$root/etc/millrace/millrace.toml"
[ -z "$root" ] || exit 0

id millrace >/dev/null 2>&1 ||
    useradd --system --home-dir /var/lib/millrace --shell /usr/sbin/nologin millrace
chgrp millrace /etc/millrace/millrace.toml
cat <<'SAID'
Installed. Next:
  $EDITOR /etc/millrace/millrace.toml
  broker --config /etc/millrace/millrace.toml --check
  systemctl daemon-reload && systemctl enable --now millrace
SAID

#!/usr/bin/env bash
# The dashboard's front end: src/control/dashboard/web. Everything that Node needs is put below
# target/test-tools/dashboard, so that no folder of packages lies in the source tree.
#
#   scripts/dashboard.sh build   builds src/control/dashboard/dist, which is committed
#   scripts/dashboard.sh check   types, unit tests, and whether dist is what the sources give
#   scripts/dashboard.sh dir     installs the packages and prints the folder

set -euo pipefail
cd "$(dirname "$0")/.."

HOME_OF_WEB=src/control/dashboard
WORK=${TOOLS:-$PWD/target/test-tools}/dashboard

# A copy of the sources, with the packages of the lockfile beside them.
prepare() {
    mkdir -p "$WORK"
    # What was removed from the sources has to go from the copy as well.
    find "$WORK" -mindepth 1 -maxdepth 1 ! -name node_modules ! -name installed -exec rm -rf {} +
    cp -R "$HOME_OF_WEB/web/." "$WORK/"
    local lock
    lock=$(sha256sum "$WORK/package-lock.json" | cut -d' ' -f1)
    if [ "$(cat "$WORK/installed" 2>/dev/null)" != "$lock" ]; then
        (cd "$WORK" && npm ci --silent --no-audit --no-fund --ignore-scripts)
        echo "$lock" >"$WORK/installed"
    fi
}

# build_into FOLDER
build_into() {
    (cd "$WORK" && DASHBOARD_OUT=$1 npx --no-install vite build --logLevel warn)
    node "$WORK/sum.mjs" "$HOME_OF_WEB/web" "$1"
}

case ${1:-} in
    build)
        prepare
        build_into "$PWD/$HOME_OF_WEB/dist"
        ;;
    check)
        prepare
        (cd "$WORK" && npx --no-install tsc --noEmit && npx --no-install vitest run)
        fresh=$(mktemp -d)
        trap 'rm -rf "$fresh"' EXIT
        build_into "$fresh"
        diff -r "$fresh" "$HOME_OF_WEB/dist" >/dev/null || {
            diff -rq "$fresh" "$HOME_OF_WEB/dist" || true
            echo "the built files are stale: run scripts/dashboard.sh build"
            exit 1
        }
        ;;
    dir)
        prepare
        echo "$WORK"
        ;;
    *)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 2
        ;;
esac

#!/bin/sh
# Makes the configure script in a checkout. Needs (Debian) autoconf, automake and pkg-config.
set -eu
cd "$(dirname "$0")"

need() {
    command -v "$1" >/dev/null || {
        echo "autogen.sh: $1 is missing (Debian: $2)" >&2
        exit 1
    }
}

need autoreconf autoconf
need automake automake
need pkg-config pkg-config
exec autoreconf --install --force

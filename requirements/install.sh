#!/bin/sh
# Installs a lock into an image: install.sh VIRTUALENV LOCK [--target FOLDER]
# By uv, which takes a fifth of pip's time, from the index and with the trust that pip is set to in the base image; where that
# does not do (further indexes, credentials that only pip has), by pip itself.
# UV names a uv that is there already; else its lock beside this file brings one for the while.
set -eu
python="$1/bin/python" lock=$2
shift 2

index="${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2> /dev/null || true)}"
if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi

passing=$(mktemp -d)
trap 'rm -rf "$passing"' EXIT
if [ -z "${UV:-}" ]; then
    "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
        --target "$passing" -r "$(dirname "$0")/uv.txt"
    UV="$passing/bin/uv"
fi
if ! "$UV" pip install --quiet --no-cache --compile-bytecode --require-hashes --no-deps --python "$python" -r "$lock" "$@"; then
    echo "uv could not install $lock, pip may" >&2
    "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r "$lock" "$@"
fi

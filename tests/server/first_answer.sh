#!/bin/sh
# The time from a clean clone to the first answer: `make serve` builds the library and the server, and a client asks.
# Options go to make, as PROFILE=dev. It needs cargo, Go and curl, and port 18434.
set -eu
cd "$(dirname "$0")/../.."
clone=$(mktemp -d)
trap 'kill "$make" 2>/dev/null || true; wait; rm -rf "$clone"' EXIT
git clone --quiet . "$clone/rekindle"
began=$(date +%s)
# A session of its own, so that the server ends with make.
setsid make -C "$clone/rekindle" serve SERVE="--port 18434" "$@" >"$clone/log" 2>&1 &
make=$!
ask() {
    curl --silent --fail http://127.0.0.1:18434/v1/chat/completions \
        -d '{"model": "bible-5M-Q8_0", "max_tokens": 12, "messages": [{"role": "user", "content": "And God said"}]}'
}
until answer=$(ask); do
    if ! kill -0 "$make" 2>/dev/null; then
        cat "$clone/log"
        exit 1
    fi
    sleep 1
done
echo "first answer after $(($(date +%s) - began)) s: $answer"
kill -- "-$make"

#!/bin/sh
# Runs a command with a MongoDB server for tests. The command finds the server's address in REPLIBOOK_STORE,
# and its process id in REPLIBOOK_MONGODB_PID.
# Usage: with-mongodb.sh SERVER COMMAND …   If REPLIBOOK_TEST_MONGODB names a real server, that one is used.
set -eu
server=$1
shift
if [ -n "${REPLIBOOK_TEST_MONGODB:-}" ]; then
    REPLIBOOK_STORE=$REPLIBOOK_TEST_MONGODB exec "$@"
fi
directory=$(mktemp -d "${TMPDIR:-/tmp}/replibook-mongodb-XXXXXX")
cd_back=$PWD
cd "$directory"
"$server" --port 0 --storage-path "$directory/data" >log 2>&1 </dev/null &
pid=$!
cd "$cd_back"
trap 'kill -9 $pid 2>/dev/null || :; wait $pid 2>/dev/null || :; rm -rf "$directory"' EXIT
trap 'exit 130' INT TERM HUP
port=
tries=0
while [ -z "$port" ]; do
    port=$(sed -n 's/.*listening on [^ ]*:\([0-9][0-9]*\).*/\1/p' "$directory/log")
    tries=$((tries + 1))
    if [ "$tries" -gt 600 ] || ! kill -0 $pid 2>/dev/null; then
        echo "the MongoDB server does not listen:" >&2
        cat "$directory/log" >&2
        exit 1
    fi
    sleep 0.1
done
status=0
export REPLIBOOK_MONGODB_PID=$pid
REPLIBOOK_STORE="mongodb://127.0.0.1:$port/replibook?directConnection=true" "$@" || status=$?
exit $status

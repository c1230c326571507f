#!/bin/sh
# A node of a cluster in the foreground; SIGTERM ends it. When the head is gone it tries again until it is back.
# The head's $RAYLENS_HOME/token must be in this machine's $RAYLENS_HOME/token, mode 0600.
#
#   cluster/machines/scripts/worker.sh 10.0.0.1:6379 --labels zone=a gpu=h100
#
# Arguments go to `python -m cluster join`. PYTHON: the interpreter, by default the checkout's .venv.
set -eu
: "${1:?the address of the head is missing: HOST:PORT, as 'python -m cluster up' said it there}"
cd "$(dirname "$0")/../../.."
child='' ending=''
trap 'ending=yes; [ -z "$child" ] || kill "$child" 2>/dev/null || true' INT TERM
while [ -z "$ending" ]; do
    "${PYTHON:-.venv/bin/python}" -m cluster join --block "$@" &
    child=$!
    wait "$child" || true
    if [ -n "$ending" ]; then
        wait "$child" || true # the first wait ended with the signal
        break
    fi
    sleep 5
done

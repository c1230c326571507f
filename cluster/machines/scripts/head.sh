#!/bin/sh
# The head of a cluster in the foreground, for systemd, a container or a terminal; SIGTERM ends it and all of its processes.
# What a head that was killed left is cleaned first, and unfinished jobs go on from their checkpoints.
#
#   cluster/machines/scripts/head.sh                     this machine alone
#   cluster/machines/scripts/head.sh --host 10.0.0.1     others may join: see worker.sh
#
# Arguments go to `python -m cluster up`. PYTHON: the interpreter, by default the checkout's .venv.
set -eu
cd "$(dirname "$0")/../../.."
exec "${PYTHON:-.venv/bin/python}" -m cluster up --block --port 6379 "$@"

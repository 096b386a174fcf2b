#!/bin/sh
# As in Docker Hub's image: prepares, then becomes the command.
set -e
echo "docker-entrypoint.sh: starting $1"
exec "$@"

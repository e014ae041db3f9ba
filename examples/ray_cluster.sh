#!/usr/bin/env bash
# Scores the files of a folder on Ray workers; the outputs have the bytes of one process.
# Run: `pip install "isobatch[ray]"`, then `bash ray_cluster.sh FOLDER`; on a cluster, append `--ray-address auto`.
set -euo pipefail
cd "$1"
shift # further arguments are options of the run

mkdir -p shards
for shard in 1 2 3; do
  for row in 1 2 3 4 5; do
    echo "review $row of shard $shard: a film that is hard to forget"
  done > "shards/$shard.txt"
done

# A worker loads one model and takes one file at a time. On a cluster, FOLDER is one that all of its
# machines see under this path (NFS, for example). Killed, or a machine failed? The same command
# resumes, and so does one without Ray.
isobatch run shards/ -o scored/ --engine ray --workers 2 "$@"

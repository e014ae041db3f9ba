#!/usr/bin/env bash
# The same on the command line: a Parquet file is scored, the job is killed, resumed and verified.
# Run: `bash score_parquet.sh reviews.parquet` in a folder to write into (see score_parquet.py).
set -euo pipefail
input=$1 output=scored.parquet

isobatch run "$input" -o "$output" --quiet &      # in the background, to kill it like a power cut
until [ -s ".isobatch/$output/chunks.jsonl" ]; do # the ledger of the chunks that are saved
  kill -0 $!                                      # ends the script if the job fails
  sleep 0.05
done
kill -KILL $! || true                             # it may have ended meanwhile

isobatch run "$input" -o "$output"                # resumes; all columns are kept, and five are added
isobatch verify "$output" --sample 20             # computes 20 rows again: the same bits?

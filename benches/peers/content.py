"""Rows and the sum of their hashes, as DuckDB sees them: the judge of Parquet files, not a contestant.

content.py lines                    lines of CSV with one quoted field on standard input
content.py parquet PATH COLUMNS     a file, or every *.parquet of a folder
"""

import os
import sys

import duckdb

if sys.argv[1] == "lines":
    rows = "read_csv('/dev/stdin', header=false, columns={'line': 'varchar'}, quote='\"', escape='\"', delim=',')"
    line = "line"
else:
    path = sys.argv[2]
    if os.path.isdir(path):
        path = os.path.join(path, "*.parquet")
    rows = f"read_parquet('{path}')"
    line = f"concat_ws('|', {sys.argv[3]})"
count, total = duckdb.connect().execute(f"select count(*), coalesce(sum(hash({line})::hugeint), 0) from {rows}").fetchone()
print(count, total)

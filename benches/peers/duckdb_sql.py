"""DuckDB runs a query of benches/sql over the Parquet files and writes one Parquet file."""

import os
import sys

import duckdb

data, out = os.environ["BENCH_DATA"], os.environ["BENCH_OUT"]
connection = duckdb.connect()
for table in ("lineitem", "orders", "customer"):
    connection.execute(f"create view {table} as from '{data}/{table}.parquet'")
with open(f"benches/sql/{sys.argv[1]}.sql") as file:
    query = file.read()
connection.execute(f"copy ({query}) to '{out}/answer.parquet'")

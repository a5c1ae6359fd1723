"""connectorx reads a whole table into Arrow; pyarrow writes it to Parquet."""

import os
import sys

import connectorx as cx
import pyarrow.parquet as pq

url = os.environ["BENCH_PG_URL_PASSWORD"]
table = sys.argv[1]
path = os.path.join(os.environ["BENCH_OUT"], f"{table}.parquet")
rows = cx.read_sql(url, f"select * from {table}", return_type="arrow", protocol="binary")
pq.write_table(rows, path)

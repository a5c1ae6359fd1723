"""ADBC reads a table as a stream of Arrow batches; pyarrow writes them to Parquet one by one."""

import os
import sys

import adbc_driver_postgresql.dbapi as adbc
import pyarrow.parquet as pq

path = os.path.join(os.environ["BENCH_OUT"], f"{sys.argv[1]}.parquet")
with adbc.connect(os.environ["BENCH_PG_URL"]) as connection, connection.cursor() as cursor:
    cursor.execute(f"select * from {sys.argv[1]}")
    reader = cursor.fetch_record_batch()
    with pq.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)

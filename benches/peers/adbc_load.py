"""pyarrow reads Parquet batch by batch; ADBC appends the batches to an empty table of the same name."""

import os
import sys

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
import pyarrow.parquet as pq

file = pq.ParquetFile(os.path.join(os.environ["BENCH_DATA"], f"{sys.argv[1]}.parquet"))
reader = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches())
with adbc.connect(os.environ["BENCH_PG_URL"]) as connection, connection.cursor() as cursor:
    cursor.adbc_ingest(sys.argv[1], reader, mode="append", db_schema_name="out")
    connection.commit()

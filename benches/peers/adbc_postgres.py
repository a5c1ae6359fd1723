"""ADBC reads a query on one connection and ingests the stream on another, into a table of the schema `out`.

Numerics arrive as text, which ADBC does not write into numeric columns: so it makes the table, with text in their place.
"""

import os
import sys

import adbc_driver_postgresql.dbapi as adbc

url = os.environ["BENCH_PG_URL"]
with adbc.connect(url) as source, adbc.connect(url) as target:
    with source.cursor() as reading, target.cursor() as writing:
        reading.execute(sys.argv[1])
        writing.adbc_ingest(sys.argv[2], reading.fetch_record_batch(), mode="create", db_schema_name="out")
    target.commit()

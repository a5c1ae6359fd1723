"""DuckDB with its PostgreSQL extension: one statement, with the bench database attached as `pg`."""

import os
import sys
from urllib.parse import urlsplit

import duckdb
import duckdb_ext

url = urlsplit(os.environ["BENCH_PG_URL"])
connection = duckdb.connect()
extensions = os.path.join(list(duckdb_ext.__path__)[0], "extensions")
connection.execute(f"set extension_directory = '{extensions}'")
connection.execute("load postgres_scanner")
place = f"host={url.hostname} port={url.port} user={url.username} dbname={url.path[1:]} sslmode=disable"
connection.execute(f"attach '{place}' as pg (type postgres)")
connection.execute(sys.argv[1])

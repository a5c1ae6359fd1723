"""dlt: sql_database with the connectorx backend replaces a table of PostgreSQL, dataset `out`."""

import os
import sys

import dlt
from dlt.sources.sql_database import sql_table

url = os.environ["BENCH_PG_URL_PASSWORD"].replace("postgres://", "postgresql://", 1)
resource = sql_table(
    credentials=url.replace("postgresql://", "postgresql+psycopg2://", 1),
    table=sys.argv[1],
    schema="public",
    backend="connectorx",
    reflection_level="full_with_precision",
)
pipeline = dlt.pipeline(
    "bench",
    pipelines_dir=os.environ["BENCH_STATE"],
    destination=dlt.destinations.postgres(url),
    dataset_name="out",
)
pipeline.run(resource, write_disposition="replace")

"""Polars runs TPC-H queries over the Parquet files, lazily, and writes one Parquet file."""

import os
import sys
from datetime import date

import polars as pl
from polars import col

data, out = os.environ["BENCH_DATA"], os.environ["BENCH_OUT"]
lineitem, orders, customer = (
    pl.scan_parquet(f"{data}/{table}.parquet") for table in ("lineitem", "orders", "customer")
)
# A product of decimals has the greater scale of the two here; the casts keep every digit, as the other tools do.
net = col("l_extendedprice").cast(pl.Decimal(38, 4)) * (1 - col("l_discount"))
charge = net.cast(pl.Decimal(38, 6)) * (1 + col("l_tax"))


def q1():
    return (
        lineitem.filter(col("l_shipdate") <= date(1998, 9, 2))
        .group_by("l_returnflag", "l_linestatus")
        .agg(
            col("l_quantity").sum().alias("sum_qty"),
            col("l_extendedprice").sum().alias("sum_base_price"),
            net.sum().alias("sum_disc_price"),
            charge.sum().alias("sum_charge"),
            col("l_quantity").mean().alias("avg_qty"),
            col("l_extendedprice").mean().alias("avg_price"),
            col("l_discount").mean().alias("avg_disc"),
            pl.len().alias("count_order"),
        )
        .sort("l_returnflag", "l_linestatus")
    )


def q3():
    return (
        customer.filter(col("c_mktsegment") == "BUILDING")
        .join(orders, left_on="c_custkey", right_on="o_custkey")
        .filter(col("o_orderdate") < date(1995, 3, 15))
        .join(lineitem, left_on="o_orderkey", right_on="l_orderkey")
        .filter(col("l_shipdate") > date(1995, 3, 15))
        .group_by("o_orderkey", "o_orderdate", "o_shippriority")
        .agg(net.sum().alias("revenue"))
        .select(col("o_orderkey").alias("l_orderkey"), "revenue", "o_orderdate", "o_shippriority")
        .sort("revenue", "o_orderdate", "l_orderkey", descending=[True, False, False])
        .head(10)
    )


def q18():
    large = (
        lineitem.group_by("l_orderkey").agg(col("l_quantity").sum().alias("quantity")).filter(col("quantity") > 250)
    )
    return (
        large.join(orders, left_on="l_orderkey", right_on="o_orderkey")
        .join(customer, left_on="o_custkey", right_on="c_custkey")
        .select(
            "c_name",
            col("o_custkey").alias("c_custkey"),
            col("l_orderkey").alias("o_orderkey"),
            "o_orderdate",
            "o_totalprice",
            "quantity",
        )
        .sort("o_totalprice", "o_orderdate", "o_orderkey", descending=[True, False, False])
        .head(100)
    )


{"q1": q1, "q3": q3, "q18": q18}[sys.argv[1]]().sink_parquet(f"{out}/answer.parquet")

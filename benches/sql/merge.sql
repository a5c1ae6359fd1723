-- The hand-written second half of an upsert: what did not change is left alone.
insert into out.orders as target
select * from arrived
on conflict (o_orderkey) do update set
    o_custkey = excluded.o_custkey,
    o_orderstatus = excluded.o_orderstatus,
    o_totalprice = excluded.o_totalprice,
    o_orderdate = excluded.o_orderdate,
    o_orderpriority = excluded.o_orderpriority,
    o_clerk = excluded.o_clerk,
    o_shippriority = excluded.o_shippriority,
    o_comment = excluded.o_comment
where (target.*) is distinct from (excluded.*);

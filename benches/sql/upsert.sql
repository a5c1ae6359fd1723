-- A million rows at scale 1. Half of them have changed, in the price and in the comment.
drop table if exists upsert_old, upsert_new;
create table upsert_old (like orders) with (autovacuum_enabled = false);
insert into upsert_old select * from orders order by o_orderkey limit (select count(*) * 2 / 3 from orders);
alter table upsert_old add primary key (o_orderkey);
create table upsert_new with (autovacuum_enabled = false) as
select
    o_orderkey, o_custkey, o_orderstatus,
    case when n % 2 = 0 then o_totalprice + 1 else o_totalprice end::numeric(15,2) as o_totalprice,
    o_orderdate, o_orderpriority, o_clerk, o_shippriority,
    case when n % 2 = 0 then left('changed ' || o_comment, 79) else o_comment end::varchar(79) as o_comment
from (select *, row_number() over (order by o_orderkey) as n from upsert_old) numbered;
alter table upsert_new add primary key (o_orderkey);
vacuum analyze upsert_old;
vacuum analyze upsert_new;

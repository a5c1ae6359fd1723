-- Many types, NULLs in most columns; the values follow from orders, so they are the same on every machine.
drop table if exists wide;
create table wide with (autovacuum_enabled = false) as
select
    o_orderkey as id,
    case when o_orderkey % 7 > 0 then o_totalprice / 3 end::numeric(20,6) as amount,
    case when o_orderkey % 11 > 0 then o_totalprice::double precision / 7 end as rate,
    o_orderdate::timestamp at time zone 'UTC' + (o_orderkey % 86400) * interval '1.000001 s' as placed_at,
    case when o_orderkey % 3 > 0 then o_orderdate + 30 end as due,
    o_orderstatus = 'O' as open,
    jsonb_build_object('clerk', rtrim(o_clerk), 'priority', rtrim(o_orderpriority), 'lines',
        jsonb_build_array(o_custkey, o_shippriority, null, o_totalprice)) as payload,
    md5(o_orderkey::text)::uuid as tag,
    case when o_orderkey % 5 > 0 then array[o_custkey::integer, null, o_shippriority] end as numbers,
    string_to_array(rtrim(o_comment), ' ') as words,
    decode(md5(o_comment), 'hex') as raw,
    case when o_orderkey % 13 > 0 then o_comment end::text as note
from orders;
alter table wide alter column id set not null;
vacuum analyze wide;

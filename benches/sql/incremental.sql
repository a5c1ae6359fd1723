-- The first ninety-nine hundredths; the pipeline reads them once, then incremental_rest.sql adds what is new.
drop schema if exists incremental cascade;
drop table if exists cursor_source, cursor_mark;
create schema incremental;
create table cursor_source (
    seq bigint not null,
    o_orderkey bigint not null,
    o_custkey bigint not null,
    o_totalprice numeric(15,2) not null,
    o_orderdate date not null,
    o_comment varchar(79) not null
) with (autovacuum_enabled = false);
create table cursor_mark as select max(n) * 99 / 100 as mark from (select count(*) * 4 as n from orders) total;
insert into cursor_source
select (o.n - 1) * 4 + part, o_orderkey, o_custkey, o_totalprice, o_orderdate, o_comment
from (select *, row_number() over (order by o_orderkey) as n from orders) o, generate_series(1, 4) part
where (o.n - 1) * 4 + part <= (select mark from cursor_mark);
create index on cursor_source (seq);
vacuum analyze cursor_source;

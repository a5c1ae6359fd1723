-- What is new, and what SynqX remembers of its first run: every measured run begins from here.
insert into cursor_source
select (o.n - 1) * 4 + part, o_orderkey, o_custkey, o_totalprice, o_orderdate, o_comment
from (select *, row_number() over (order by o_orderkey) as n from orders) o, generate_series(1, 4) part
where (o.n - 1) * 4 + part > (select mark from cursor_mark);
vacuum analyze cursor_source;
create table incremental.kept as select * from incremental._synqx_commit;

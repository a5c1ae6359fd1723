create table customers (id int primary key, name text not null, email text);
create table payments (id bigint primary key, customer_id int, amount numeric(10, 2), paid_at timestamp not null);
insert into customers select n, 'Customer ' || n, case when n % 10 <> 0 then 'c' || n || '@example.com' end
from generate_series(1, 200) n;
insert into payments
select n, n % 210, case when n % 50 = 0 then -1 else (n % 1000) + 0.25 end, timestamp '2026-01-01' + n * interval '1 hour'
from generate_series(1, 5000) n;
create table revenue (customer_id int primary key, name text, payments bigint, total numeric(38, 2), last_paid timestamp);
insert into revenue values (1, 'old name', 0, 0, null);
analyze;

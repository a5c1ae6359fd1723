create table orders (
    order_id   bigint generated always as identity primary key,
    customer   text not null,
    status     varchar(12) not null,
    amount     numeric(12, 2) not null,
    placed_at  timestamptz not null,
    tags       text[],
    details    jsonb
);
insert into orders (customer, status, amount, placed_at, tags, details)
select 'customer ' || (n % 97),
       (array['new', 'paid', 'shipped', 'cancelled'])[1 + n % 4],
       (n * 7919 % 1000000) / 100.0,
       timestamptz '2026-01-01 00:00:00+00' + n * interval '37 minutes',
       case when n % 3 = 0 then array['gift', 'n' || (n % 5)] end,
       case when n % 2 = 0 then jsonb_build_object('n', n) end
from generate_series(1, 10000) n;
analyze orders;

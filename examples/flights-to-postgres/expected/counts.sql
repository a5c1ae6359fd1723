select 'airlines' as "table", count(*) as n, null::bigint as nulls, null::double precision as total from airlines
union all select 'airports', count(*), count(*) - count(tzone), sum(alt) from airports
union all select 'planes', count(*), count(*) - count(year), sum(seats) from planes
union all select 'weather', count(*), count(*) - count(wind_gust), sum(pressure::numeric) from weather
union all select 'flights', count(*), count(*) - count(dep_delay), sum(distance) from flights
order by 1;

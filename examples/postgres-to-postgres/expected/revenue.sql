select count(*) as customers, sum(payments) as payments, sum(total) as total, max(last_paid) as last_paid,
       count(*) filter (where name = 'old name') as stale
from revenue;

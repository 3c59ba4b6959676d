-- SPDX-License-Identifier: MIT
-- A small shop: 50,000 orders, indices, joins, updates, deletes, vacuum. Deterministic: the numbers
-- come from a linear congruential sequence, not from random().
PRAGMA journal_mode = MEMORY;
PRAGMA cache_size = 400;
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, town TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customer (id),
                     item TEXT NOT NULL, cents INTEGER NOT NULL, day INTEGER NOT NULL);
BEGIN;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO customer SELECT i, printf('customer-%05d', (i * 7919) % 2003), printf('town-%d', i * 31 % 97) FROM n;
WITH RECURSIVE n (i, r) AS (SELECT 1, 12345 UNION ALL
                            SELECT i + 1, (r * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 50000)
INSERT INTO orders SELECT i, 1 + (r / 65536) % 2000, printf('item %x %s', r, substr('abcdefghijklmnopqrstuvwxyz', 1 + r / 1024 % 20, 6)),
                          (r / 256) % 100000, (r / 4096) % 365 FROM n;
COMMIT;
CREATE INDEX orders_customer ON orders (customer);
CREATE INDEX orders_day ON orders (day, cents);
CREATE INDEX orders_item ON orders (item);
ANALYZE;
SELECT 'orders', count(*), sum(cents) FROM orders;
SELECT town, count(*) AS n, sum(o.cents) AS total FROM orders o JOIN customer c ON c.id = o.customer
 GROUP BY town ORDER BY total DESC LIMIT 5;
SELECT c.name, group_concat(o.item, '; ') FROM orders o JOIN customer c ON c.id = o.customer
 WHERE o.day BETWEEN 100 AND 101 GROUP BY c.id ORDER BY length(group_concat(o.item, '; ')) DESC, c.name LIMIT 3;
SELECT count(*) FROM orders a JOIN orders b ON a.customer = b.customer AND a.day = b.day AND a.id < b.id;
WITH ranked AS (SELECT customer, cents, row_number() OVER (PARTITION BY customer ORDER BY cents DESC, id) AS place FROM orders)
SELECT count(*), sum(cents) FROM ranked WHERE place <= 3;
UPDATE orders SET item = item || ' (gift)' WHERE day % 30 = 0;
DELETE FROM orders WHERE day BETWEEN 200 AND 250;
SELECT count(DISTINCT item), max(length(item)) FROM orders;
VACUUM;
PRAGMA integrity_check;

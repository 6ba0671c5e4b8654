-- SPDX-License-Identifier: Apache-2.0
-- Is read many times over: recursion, an index, a join by an expression.
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
SELECT count(*), sum(length(hex(i)) * (i % 17)), max(printf('%08d', i * 7919 % 104729)) FROM n;
CREATE TABLE t(a, b); CREATE INDEX t_a ON t(a);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO t SELECT i * 7919 % 104729, hex(i) FROM n;
SELECT count(*) FROM t x JOIN t y ON x.a = y.a WHERE x.b LIKE '%3%' ORDER BY x.b;
DROP TABLE t;

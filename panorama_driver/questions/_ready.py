"""Questions that SQL alone answers, ready made."""

from __future__ import annotations

_FAILURES = """\
SELECT e.study, e.evaluation, e.state, f.job_id, f.transformation, f.host, f.exit_code,
  coalesce(nullif(e.message, ''), f.failure) AS message
FROM evaluations e
LEFT JOIN (SELECT study, key, job_id, transformation, host, exit_code, failure, min(end)
  FROM attempts WHERE last AND state = 'failed' GROUP BY study, key) f USING (study, key)
WHERE e.failed AND e.current
ORDER BY e.study, e.ended"""

_RETRIES = """\
SELECT transformation, sum(last) AS jobs, sum(last AND job_retries > 0) AS jobs_retried,
  sum(NOT last) AS retries, sum(last AND state = 'failed') AS jobs_failed,
  total(CASE WHEN NOT last THEN wall_time END) / 3600 AS "lost [h]",
  total(CASE WHEN NOT last THEN wall_time END) / nullif(total(wall_time), 0) AS share_lost
FROM attempts WHERE current
GROUP BY transformation
ORDER BY retries DESC, jobs DESC"""

_WAITS = """\
SELECT transformation, site, count(queue_time) AS n, median(queue_time) AS "median [s]",
  quantile(queue_time, 0.95) AS "p95 [s]", max(queue_time) AS "max [s]", max(held_time) AS "longest held [s]",
  total(queue_time) / nullif(total(queue_time) + total(wall_time), 0) AS share_of_time
FROM attempts WHERE current AND ran
GROUP BY transformation, site
ORDER BY total(queue_time) DESC"""

_MEMORY = """\
SELECT transformation, count(peak_memory) AS n, count(*) - count(peak_memory) AS unknown,
  median(peak_memory) / 1048576 AS "median [MiB]", quantile(peak_memory, 0.95) / 1048576 AS "p95 [MiB]",
  max(peak_memory) / 1048576.0 AS "max [MiB]", max(memory_asked) / 1048576.0 AS "asked [MiB]",
  max(memory_asked) / quantile(peak_memory, 0.95) AS asked_over_p95
FROM attempts WHERE current AND state = 'succeeded' AND type = 'compute'
GROUP BY transformation
ORDER BY "p95 [MiB]" DESC"""

_COST = """\
SELECT transformation, count(*) AS attempts, sum(wall_time * cores) / 3600 AS "core time [h]",
  sum(cpu_time) / 3600 AS "CPU time [h]",
  sum(CASE WHEN cpu_time IS NOT NULL THEN cpu_time END)
    / nullif(sum(CASE WHEN cpu_time IS NOT NULL THEN wall_time * cores END), 0) AS utilization,
  total(CASE WHEN state = 'failed' THEN wall_time * cores END) / 3600 AS "of it failed [h]",
  sum(wall_time * cores) / sum(sum(wall_time * cores)) OVER () AS share,
  sum(wall_time * cores IS NULL) AS unknown
FROM attempts WHERE current AND ran
GROUP BY transformation
ORDER BY "core time [h]" DESC"""

_OUTLIERS = """\
WITH known AS (SELECT study, evaluation, job_id, attempt, transformation, host, wall_time AS t,
    median(wall_time) OVER (PARTITION BY transformation) AS middle,
    count(*) OVER (PARTITION BY transformation) AS n
  FROM attempts WHERE current AND state = 'succeeded' AND type = 'compute' AND wall_time IS NOT NULL),
spread AS (SELECT *, median(abs(t - middle)) OVER (PARTITION BY transformation) AS mad FROM known)
SELECT study, evaluation, job_id, attempt, transformation, host, t AS "wall time [s]", middle AS "median [s]", n,
  0.6745 * (t - middle) / mad AS z
FROM spread WHERE n >= 10 AND mad > 0 AND abs(0.6745 * (t - middle) / mad) > 3.5
ORDER BY abs(z) DESC LIMIT 100"""

_TRANSFERS = """\
SELECT source_place, destination_place, tool, count(*) AS n, sum(bytes_transferred) / 1048576.0 AS "moved [MiB]",
  quantile(effective_speed, 0.1) / 1048576 AS "p10 [MiB/s]", median(effective_speed) / 1048576 AS "median [MiB/s]",
  sum(state = 'failed') AS failed, sum(faults) AS faults, sum(retried) AS retried
FROM transfers
GROUP BY source_place, destination_place, tool
ORDER BY sum(bytes_transferred) DESC"""

BY_SQL = {
    "failures": ("the evaluations that failed, each with the job that made it fail", _FAILURES),
    "retries": ("attempts after the first, by transformation, and the time that was lost with them", _RETRIES),
    "waits": ("time in queues, by transformation and site", _WAITS),
    "memory": ("peak memory of attempts that succeeded, by transformation, and what was asked for", _MEMORY),
    "cost": ("core hours by transformation, and those of attempts that failed", _COST),
    "outliers": (
        "attempts whose time is far from that of their transformation: modified z-score above 3.5 (Iglewicz and "
        "Hoaglin 1993), of 10 or more, the 100 farthest",
        _OUTLIERS,
    ),
    "transfers": ("speed and faults of transfers, by source and destination", _TRANSFERS),
}
"""Name of a question to what it answers and its SQL."""

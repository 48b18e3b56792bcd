-- name: append
INSERT INTO facts (run, n, at, kind, task, attempt, key, body)
SELECT :run, coalesce(max(n), 0) + 1, :at, :kind, :task, :attempt, :key, :body FROM facts WHERE run = :run
RETURNING n;

-- name: of_run
SELECT run, n, at, kind, task, attempt, body FROM facts WHERE run = :run AND n > :after ORDER BY n;

-- name: of_run_without_agent_output
SELECT run, n, at, kind, task, attempt, body FROM facts
WHERE run = :run
    AND (kind NOT IN ('agent_text', 'agent_tool') OR n = (SELECT max(n) FROM facts WHERE run = :run))
ORDER BY n;

-- name: starts_newest_first
SELECT run, at, json_extract(body, '$.folder'), json_extract(body, '$.plan')
FROM facts WHERE kind = 'run_started' ORDER BY at DESC, run;

-- name: of_kinds
SELECT run, n, at, kind, task, attempt, body FROM facts INDEXED BY facts_by_kind
WHERE kind IN (SELECT value FROM json_each(:kinds)) AND run IN (SELECT value FROM json_each(:runs))
    AND (task IS NULL OR :tasks IS NULL OR task IN (SELECT value FROM json_each(:tasks)))
ORDER BY run, n;

-- name: count_reported_bytes
SELECT json_extract(body, '$.stdout_bytes') FROM facts
WHERE run = :run AND n > :after AND task = :task AND attempt = :attempt AND kind IN ('agent_text', 'agent_tool')
ORDER BY n DESC LIMIT 1;

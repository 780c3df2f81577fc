"""Computes the rows of the streams of a test once more, as a batch: batch.py EVENTS STREAM

EVENTS has a message a line, as JSON with its headers and its value. Prints a row a line.
"""

import json
import sys

import duckdb

EVENTS = """
CREATE TABLE events AS
SELECT DISTINCT ON (id) *, CAST(headers.ce_recordedms AS BIGINT) AS ms, CAST(headers.ce_sequence AS BIGINT) AS sequence,
    CAST(headers.ce_amountmoved AS BIGINT) AS moved, headers.ce_payer AS payer, headers.ce_payee AS payee,
    data->'object' AS object
FROM (SELECT value->>'id' AS id, value->>'type' AS type, value->'data' AS data, headers
      FROM read_json($events, columns = {
          value: 'JSON',
          headers: 'STRUCT(ce_recordedms VARCHAR, ce_sequence VARCHAR, ce_amountmoved VARCHAR, ce_payer VARCHAR, ce_payee VARCHAR)'
      }))
"""

STREAMS = {
    "volume": """
SELECT payee, object->>'currency' AS currency, ms // 60000 * 60000 AS starts, starts + 60000 AS ends,
    count(*) AS events, sum(moved * 3 - amount // 2) AS moved,
    sum(CASE type WHEN 'payment.partially_refunded' THEN moved ELSE 0 END) AS back,
    min(amount) AS least, max(amount) AS most, count(DISTINCT payer) AS payers,
    arg_min(coalesce(object->>'payment', object->>'id'), sequence) AS first, arg_max(moved, sequence) AS last
FROM (SELECT *, CAST(object->>'amount' AS BIGINT) AS amount FROM events)
WHERE type IN ('payment.captured', 'payment.partially_captured', 'payment.partially_refunded')
GROUP BY ALL
""",
    "overlapping": """
SELECT method, starts, starts + 120000 AS ends, count(*) AS payments,
    max(CASE method WHEN '17' THEN 17 ELSE -1 END) AS number, sum(amount) AS amount
FROM (SELECT coalesce(object->'metadata'->>'method', 'none') AS method, CAST(object->>'amount' AS BIGINT) AS amount,
          unnest([ms // 30000 * 30000 - step * 30000 for step in range(4)]) AS starts
      FROM events WHERE type = 'payment.captured')
GROUP BY method, starts HAVING payments > 1 AND method <> 'card'
""",
    "visits": """
SELECT terminal AS "data.terminal", min(moment) AS starts, max(moment) + 20000 AS ends, count(*) AS uses, sum(amount) AS amount,
    arg_min(amount, (moment, sequence)) AS began, arg_max(is_new, (moment, sequence)) AS ended,
    count(DISTINCT amount > 50000) AS sizes
FROM (SELECT *, sum(CASE WHEN moment - before < 20000 THEN 0 ELSE 1 END) OVER (PARTITION BY terminal ORDER BY moment, sequence) AS session
      FROM (SELECT *, lag(moment) OVER (PARTITION BY terminal ORDER BY moment, sequence) AS before
            FROM (SELECT data->>'terminal' AS terminal, CAST(data->>'amount' AS BIGINT) AS amount, sequence,
                      CAST(data->>'is_new' AS BOOLEAN) AS is_new, CAST(data->>'at' AS BIGINT) AS moment
                  FROM events WHERE type = 'app.terminal.used')
            WHERE amount IS NOT NULL AND amount % 10 <> 7))
GROUP BY terminal, session
""",
    "spending": """
SELECT payer, currency, ms - 90000 AS starts, ms AS ends, count(*) OVER span AS payments, sum(moved) OVER span AS amount,
    count(DISTINCT payee) OVER span AS payees, min(amount) OVER span AS least,
    arg_min(payment, sequence) OVER span AS first, arg_max(payment, sequence) OVER span AS last
FROM (SELECT *, object->>'currency' AS currency, object->>'id' AS payment, CAST(object->>'amount' AS BIGINT) AS amount
      FROM events WHERE type = 'payment.captured' AND object->>'kind' = 'pay')
WINDOW span AS (PARTITION BY payer, currency ORDER BY ms RANGE BETWEEN 89999 PRECEDING AND CURRENT ROW)
""",
}

BOUND = "strftime(make_timestamp({} * 1000), '%Y-%m-%dT%H:%M:%S.%gZ')"


def main() -> None:
    events, stream = sys.argv[1:]
    database = duckdb.connect()
    database.execute(EVENTS, {"events": events})
    bounds = ", ".join(f"{BOUND.format(name)} AS window_{name[:-1]}" for name in ("starts", "ends"))
    rows = database.execute(f"SELECT * EXCLUDE (starts, ends), {bounds} FROM ({STREAMS[stream]})")
    names = [column[0] for column in rows.description]
    for row in rows.fetchall():
        print(json.dumps(dict(zip(names, row))))


main()

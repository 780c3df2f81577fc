-- The stream volume for Apache Flink 2.2. "Moving to Flink" in docs/streams.md says what differs.
-- The topic must have these events, by a subscription of the platform to a binding of Kafka, and none that are no JSON:
-- payment.captured

-- Windows begin at multiples of their size from 1970 on, in UTC.
SET 'table.local-time-zone' = 'UTC';
-- Kafka may have an event twice. It counts once if it comes again within this time.
SET 'table.exec.state.ttl' = '1 d';
-- A partition without events does not hold the others up for longer.
SET 'table.exec.source.idle-timeout' = '10 s';

CREATE TEMPORARY TABLE `volume.events` (
  `data` ROW<`object` ROW<`currency` STRING, `kind` STRING>>,
  `id` STRING,
  `type` STRING,
  `headers` MAP<STRING NOT NULL, BYTES> METADATA VIRTUAL,
  `rowtime` AS CASE WHEN CASE WHEN CAST(`headers`['ce_recordedms'] AS STRING) IS NULL THEN CAST(CONCAT('the header recordedms, which only a subscription of the platform has, has no value in the event ', `id`) AS BOOLEAN)
    WHEN `type` = 'payment.captured' THEN CASE WHEN (`data`.`object`.`kind` = CAST('pay' AS STRING)) IS NOT NULL THEN (`data`.`object`.`kind` = CAST('pay' AS STRING)) ELSE CAST(CONCAT('where of payment.captured has no value in the event ', `id`) AS BOOLEAN) END ELSE FALSE END THEN TO_TIMESTAMP_LTZ(CASE WHEN (CASE WHEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) BETWEEN -4611686018427 AND 4611686018427 THEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) END) IS NOT NULL THEN (CASE WHEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) BETWEEN -4611686018427 AND 4611686018427 THEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) END) ELSE CAST(CONCAT('the time, from 1824 to 2116, has no value in the event ', `id`) AS BIGINT) END, 3) END,
  `proctime` AS PROCTIME(),
  WATERMARK FOR `rowtime` AS `rowtime` - INTERVAL '0 00:00:10.001' DAY(3) TO SECOND(3)
) WITH (
  'connector' = 'kafka',
  'topic' = 'payment_events',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
);

CREATE TEMPORARY VIEW `volume.counted` AS SELECT
  `id`,
  `rowtime`,
  `proctime`,
  CASE WHEN (CASE WHEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) BETWEEN -4611686018427 AND 4611686018427 THEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) END) IS NOT NULL THEN (CASE WHEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) BETWEEN -4611686018427 AND 4611686018427 THEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) END) ELSE CAST(CONCAT('the time, from 1824 to 2116, has no value in the event ', `id`) AS BIGINT) END AS `time`,
  CAST(`headers`['ce_sequence'] AS STRING) AS `sequence`,
  CASE WHEN CAST(`headers`['ce_payer'] AS STRING) IS NOT NULL THEN CAST(`headers`['ce_payer'] AS STRING) ELSE CAST(CAST(CONCAT('the field payer of the key has no value in the event ', `id`) AS BIGINT) AS STRING) END AS `key0`,
  CASE WHEN `data`.`object`.`currency` IS NOT NULL THEN `data`.`object`.`currency` ELSE CAST(CAST(CONCAT('the field currency of the key has no value in the event ', `id`) AS BIGINT) AS STRING) END AS `key1`,
  CASE WHEN CAST(CAST(`headers`['ce_amountmoved'] AS STRING) AS BIGINT) IS NOT NULL THEN CAST(CAST(`headers`['ce_amountmoved'] AS STRING) AS BIGINT) ELSE CAST(CONCAT('the input of amount has no value in the event ', `id`) AS BIGINT) END AS `input0`,
  CASE WHEN CAST(`headers`['ce_payee'] AS STRING) IS NOT NULL THEN CAST(`headers`['ce_payee'] AS STRING) ELSE CAST(CAST(CONCAT('the input of payees has no value in the event ', `id`) AS BIGINT) AS STRING) END AS `input1`
FROM `volume.events` WHERE
  CASE WHEN CAST(`headers`['ce_recordedms'] AS STRING) IS NULL THEN CAST(CONCAT('the header recordedms, which only a subscription of the platform has, has no value in the event ', `id`) AS BOOLEAN)
    WHEN `type` = 'payment.captured' THEN CASE WHEN (`data`.`object`.`kind` = CAST('pay' AS STRING)) IS NOT NULL THEN (`data`.`object`.`kind` = CAST('pay' AS STRING)) ELSE CAST(CONCAT('where of payment.captured has no value in the event ', `id`) AS BOOLEAN) END ELSE FALSE END;

CREATE TEMPORARY VIEW `volume.once` AS SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY `id` ORDER BY `proctime` ASC) AS `copy` FROM `volume.counted`
) WHERE `copy` = 1;

CREATE TEMPORARY VIEW `volume.results` AS SELECT
  `key0`, `key1`,
  `time` - 86400000 AS `starts`,
  `time` AS `ends`,
  CAST(CAST(SUM(CAST(`input0` AS DECIMAL(19, 0))) OVER `trailing` AS STRING) AS BIGINT) AS `value0`,
  COUNT(DISTINCT `input1`) OVER `trailing` AS `value1`,
  COUNT(*) OVER `trailing` AS `value2`
FROM `volume.once`
WINDOW `trailing` AS (PARTITION BY `key0`, `key1` ORDER BY `rowtime`
  RANGE BETWEEN INTERVAL '0 23:59:59.999' DAY(3) TO SECOND(3) PRECEDING AND CURRENT ROW);

CREATE TEMPORARY TABLE `volume.rows` (
  `payer` STRING,
  `currency` STRING,
  `window_start` TIMESTAMP_LTZ(3),
  `window_end` TIMESTAMP_LTZ(3),
  `amount` BIGINT,
  `payees` BIGINT,
  `payments` BIGINT,
  PRIMARY KEY (`payer`, `currency`, `window_end`) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = 'streams.rows',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'key.format' = 'json',
  'key.json.timestamp-format.standard' = 'ISO-8601',
  'value.format' = 'json',
  'value.json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO `volume.rows` SELECT
  `key0`, `key1`, TO_TIMESTAMP_LTZ(`starts`, 3), TO_TIMESTAMP_LTZ(`ends`, 3), `value0`, `value1`, `value2`
FROM `volume.results`;

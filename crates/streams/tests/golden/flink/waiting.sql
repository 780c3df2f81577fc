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
  `data` ROW<`object` ROW<`currency` STRING>>,
  `id` STRING,
  `type` STRING,
  `headers` MAP<STRING NOT NULL, BYTES> METADATA VIRTUAL,
  `rowtime` AS TO_TIMESTAMP_LTZ(CASE WHEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) IS NOT NULL THEN CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) ELSE CAST(CONCAT('the header recordedms has no value in the event ', `id`) AS BIGINT) END, 3),
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
  CAST(CAST(`headers`['ce_recordedms'] AS STRING) AS BIGINT) AS `time`,
  CAST(`headers`['ce_sequence'] AS STRING) AS `sequence`,
  CASE WHEN `data`.`object`.`currency` IS NOT NULL THEN `data`.`object`.`currency` ELSE CAST(CAST(CONCAT('the field currency of the key has no value in the event ', `id`) AS BIGINT) AS STRING) END AS `key0`,
  CASE WHEN CAST(CAST(`headers`['ce_waitedms'] AS STRING) AS BIGINT) IS NOT NULL THEN CAST(CAST(`headers`['ce_waitedms'] AS STRING) AS BIGINT) ELSE CAST(CONCAT('the input of longest has no value in the event ', `id`) AS BIGINT) END AS `input0`,
  CASE WHEN CAST(CAST(`headers`['ce_waitedms'] AS STRING) AS BIGINT) IS NOT NULL THEN CAST(CAST(`headers`['ce_waitedms'] AS STRING) AS BIGINT) ELSE CAST(CONCAT('the input of waited has no value in the event ', `id`) AS BIGINT) END AS `input2`
FROM `volume.events` WHERE
  CASE WHEN CAST(`headers`['ce_recordedms'] AS STRING) IS NULL THEN CAST(CONCAT('the header recordedms, which only a subscription of the platform has, has no value in the event ', `id`) AS BOOLEAN)
    WHEN `type` = 'payment.captured' THEN CASE WHEN (CAST(CAST(`headers`['ce_waitedms'] AS STRING) AS BIGINT) > 0) IS NOT NULL THEN (CAST(CAST(`headers`['ce_waitedms'] AS STRING) AS BIGINT) > 0) ELSE CAST(CONCAT('where of payment.captured has no value in the event ', `id`) AS BOOLEAN) END ELSE FALSE END;

CREATE TEMPORARY VIEW `volume.once` AS SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY `id` ORDER BY `proctime` ASC) AS `copy` FROM `volume.counted`
) WHERE `copy` = 1;

CREATE TEMPORARY VIEW `volume.results` AS SELECT
  `key0`,
  UNIX_TIMESTAMP(DATE_FORMAT(`window_start`, 'yyyy-MM-dd HH:mm:ss')) * 1000 AS `starts`,
  UNIX_TIMESTAMP(DATE_FORMAT(`window_end`, 'yyyy-MM-dd HH:mm:ss')) * 1000 AS `ends`,
  MAX(`input0`) AS `value0`,
  COUNT(*) AS `value1`,
  CAST(CAST(SUM(CAST(`input2` AS DECIMAL(19, 0))) AS STRING) AS BIGINT) AS `value2`
FROM TABLE(TUMBLE(TABLE `volume.once`, DESCRIPTOR(`rowtime`), INTERVAL '0 00:01:00.000' DAY(3) TO SECOND(3)))
GROUP BY `key0`, `window_start`, `window_end`;

CREATE TEMPORARY TABLE `volume.rows` (
  `currency` STRING,
  `window_start` TIMESTAMP_LTZ(3),
  `window_end` TIMESTAMP_LTZ(3),
  `longest` BIGINT,
  `payments` BIGINT,
  `waited` BIGINT,
  PRIMARY KEY (`currency`, `window_end`) NOT ENFORCED
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
  `key0`, TO_TIMESTAMP_LTZ(`starts`, 3), TO_TIMESTAMP_LTZ(`ends`, 3), `value0`, `value1`, `value2`
FROM `volume.results`;

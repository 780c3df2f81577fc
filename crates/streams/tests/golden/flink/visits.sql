-- The stream volume for Apache Flink 2.2. "Moving to Flink" in docs/streams.md says what differs.
-- The topic must have these events, by a subscription of the platform to a binding of Kafka, and none that are no JSON:
-- app.terminal.used, app.terminal.closed

-- Windows begin at multiples of their size from 1970 on, in UTC.
SET 'table.local-time-zone' = 'UTC';
-- Kafka may have an event twice. It counts once if it comes again within this time.
SET 'table.exec.state.ttl' = '1 d';
-- A partition without events does not hold the others up for longer.
SET 'table.exec.source.idle-timeout' = '10 s';

CREATE TEMPORARY TABLE `volume.events` (
  `data` ROW<`amount` STRING, `at` STRING, `is_new` STRING, `terminal` STRING>,
  `id` STRING,
  `type` STRING,
  `headers` MAP<STRING NOT NULL, BYTES> METADATA VIRTUAL,
  `rowtime` AS CASE WHEN CASE WHEN CAST(`headers`['ce_recordedms'] AS STRING) IS NULL THEN CAST(CONCAT('the header recordedms, which only a subscription of the platform has, has no value in the event ', `id`) AS BOOLEAN)
    WHEN `type` = 'app.terminal.used' THEN CASE WHEN (CAST(`headers`['tributary-hops'] AS STRING) = '0') THEN CASE WHEN (CASE (MOD((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END), 100) <> 7) WHEN FALSE THEN FALSE WHEN TRUE THEN (NOT (`data`.`terminal` IN (CAST('test' AS STRING), CAST('o''clock' AS STRING)))) END) IS NOT NULL THEN (CASE (MOD((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END), 100) <> 7) WHEN FALSE THEN FALSE WHEN TRUE THEN (NOT (`data`.`terminal` IN (CAST('test' AS STRING), CAST('o''clock' AS STRING)))) END) ELSE CAST(CONCAT('where of app.terminal.used has no value in the event ', `id`) AS BOOLEAN) END ELSE FALSE END
    WHEN `type` = 'app.terminal.closed' THEN TRUE ELSE FALSE END THEN TO_TIMESTAMP_LTZ(CASE WHEN (CASE WHEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) BETWEEN -4611686018427 AND 4611686018427 THEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) END) IS NOT NULL THEN (CASE WHEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) BETWEEN -4611686018427 AND 4611686018427 THEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) END) ELSE CAST(CONCAT('the time, from 1824 to 2116, has no value in the event ', `id`) AS BIGINT) END, 3) END,
  `proctime` AS PROCTIME(),
  WATERMARK FOR `rowtime` AS `rowtime` - INTERVAL '0 00:00:15.001' DAY(3) TO SECOND(3)
) WITH (
  'connector' = 'kafka',
  'topic' = 'payment_events',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'latest-offset',
  'format' = 'json'
);

CREATE TEMPORARY VIEW `volume.counted` AS SELECT
  `id`,
  `rowtime`,
  `proctime`,
  CASE WHEN (CASE WHEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) BETWEEN -4611686018427 AND 4611686018427 THEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) END) IS NOT NULL THEN (CASE WHEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) BETWEEN -4611686018427 AND 4611686018427 THEN (CASE WHEN REGEXP(`data`.`at`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`at` AS BIGINT) END) END) ELSE CAST(CONCAT('the time, from 1824 to 2116, has no value in the event ', `id`) AS BIGINT) END AS `time`,
  CAST(`headers`['ce_sequence'] AS STRING) AS `sequence`,
  CASE WHEN `data`.`terminal` IS NOT NULL THEN `data`.`terminal` ELSE CAST(CAST(CONCAT('the field data.terminal of the key has no value in the event ', `id`) AS BIGINT) AS STRING) END AS `key0`,
  CASE WHEN (CASE `type` WHEN 'app.terminal.used' THEN (CASE ((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) >= 10000) WHEN TRUE THEN CAST('large' AS STRING) WHEN FALSE THEN CAST('small' AS STRING) END) WHEN 'app.terminal.closed' THEN CAST('none' AS STRING) END) IS NOT NULL THEN (CASE `type` WHEN 'app.terminal.used' THEN (CASE ((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) >= 10000) WHEN TRUE THEN CAST('large' AS STRING) WHEN FALSE THEN CAST('small' AS STRING) END) WHEN 'app.terminal.closed' THEN CAST('none' AS STRING) END) ELSE CAST(CAST(CONCAT('the field size of the key has no value in the event ', `id`) AS BIGINT) AS STRING) END AS `key1`,
  CASE WHEN (CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) IS NOT NULL THEN (CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) ELSE CAST(CONCAT('the input of began has no value in the event ', `id`) AS BIGINT) END AS `input0`,
  CASE WHEN (CASE `data`.`is_new` WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END) IS NOT NULL THEN (CASE `data`.`is_new` WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END) ELSE CAST(CONCAT('the input of ended has no value in the event ', `id`) AS BOOLEAN) END AS `input1`,
  CASE WHEN (CASE `type` WHEN 'app.terminal.used' THEN (CASE ((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) >= 10000) WHEN TRUE THEN CAST('large' AS STRING) WHEN FALSE THEN CAST('small' AS STRING) END) WHEN 'app.terminal.closed' THEN CAST('none' AS STRING) END) IS NOT NULL THEN (CASE `type` WHEN 'app.terminal.used' THEN (CASE ((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) >= 10000) WHEN TRUE THEN CAST('large' AS STRING) WHEN FALSE THEN CAST('small' AS STRING) END) WHEN 'app.terminal.closed' THEN CAST('none' AS STRING) END) ELSE CAST(CAST(CONCAT('the input of sizes has no value in the event ', `id`) AS BIGINT) AS STRING) END AS `input2`,
  CASE WHEN (CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) IS NOT NULL THEN (CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END) ELSE CAST(CONCAT('the input of total has no value in the event ', `id`) AS BIGINT) END AS `input3`
FROM `volume.events` WHERE
  CASE WHEN CAST(`headers`['ce_recordedms'] AS STRING) IS NULL THEN CAST(CONCAT('the header recordedms, which only a subscription of the platform has, has no value in the event ', `id`) AS BOOLEAN)
    WHEN `type` = 'app.terminal.used' THEN CASE WHEN (CAST(`headers`['tributary-hops'] AS STRING) = '0') THEN CASE WHEN (CASE (MOD((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END), 100) <> 7) WHEN FALSE THEN FALSE WHEN TRUE THEN (NOT (`data`.`terminal` IN (CAST('test' AS STRING), CAST('o''clock' AS STRING)))) END) IS NOT NULL THEN (CASE (MOD((CASE WHEN REGEXP(`data`.`amount`, '\A(0|-?[1-9][0-9]*)\z') THEN TRY_CAST(`data`.`amount` AS BIGINT) END), 100) <> 7) WHEN FALSE THEN FALSE WHEN TRUE THEN (NOT (`data`.`terminal` IN (CAST('test' AS STRING), CAST('o''clock' AS STRING)))) END) ELSE CAST(CONCAT('where of app.terminal.used has no value in the event ', `id`) AS BOOLEAN) END ELSE FALSE END
    WHEN `type` = 'app.terminal.closed' THEN TRUE ELSE FALSE END;

CREATE TEMPORARY VIEW `volume.once` AS SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY `id` ORDER BY `proctime` ASC) AS `copy` FROM `volume.counted`
) WHERE `copy` = 1;

CREATE TEMPORARY VIEW `volume.results` AS SELECT
  `key0`, `key1`,
  MIN(`time`) AS `starts`,
  MAX(`time`) + 30000 AS `ends`,
  CAST(SUBSTRING(MIN(CONCAT(LPAD(CAST(`time` + 4611686018427387904 AS STRING), 19, '0'), `sequence`, CAST(`input0` AS STRING))) FROM 40) AS BIGINT) AS `value0`,
  CAST(SUBSTRING(MAX(CONCAT(LPAD(CAST(`time` + 4611686018427387904 AS STRING), 19, '0'), `sequence`, CAST(`input1` AS STRING))) FROM 40) AS BOOLEAN) AS `value1`,
  COUNT(DISTINCT `input2`) AS `value2`,
  CAST(CAST(SUM(CAST(`input3` AS DECIMAL(19, 0))) AS STRING) AS BIGINT) AS `value3`,
  COUNT(*) AS `value4`
FROM TABLE(SESSION(TABLE `volume.once` PARTITION BY (`key0`, `key1`), DESCRIPTOR(`rowtime`), INTERVAL '0 00:00:29.999' DAY(3) TO SECOND(3)))
GROUP BY `key0`, `key1`, `window_start`, `window_end`;

CREATE TEMPORARY TABLE `volume.rows` (
  `data.terminal` STRING,
  `size` STRING,
  `window_start` TIMESTAMP_LTZ(3),
  `window_end` TIMESTAMP_LTZ(3),
  `began` BIGINT,
  `ended` BOOLEAN,
  `sizes` BIGINT,
  `total` BIGINT,
  `uses` BIGINT,
  PRIMARY KEY (`data.terminal`, `size`, `window_end`) NOT ENFORCED
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
  `key0`, `key1`, TO_TIMESTAMP_LTZ(`starts`, 3), TO_TIMESTAMP_LTZ(`ends`, 3), `value0`, `value1`, `value2`, `value3`, `value4`
FROM `volume.results` WHERE
  CASE WHEN (CASE (`value4` > 1) WHEN FALSE THEN FALSE WHEN TRUE THEN (TRY_CAST(CAST((CAST(`ends` AS DECIMAL(19, 0)) - CAST(`starts` AS DECIMAL(19, 0))) AS STRING) AS BIGINT) < 3600000) END) IS NOT NULL THEN (CASE (`value4` > 1) WHEN FALSE THEN FALSE WHEN TRUE THEN (TRY_CAST(CAST((CAST(`ends` AS DECIMAL(19, 0)) - CAST(`starts` AS DECIMAL(19, 0))) AS STRING) AS BIGINT) < 3600000) END) ELSE CAST(CONCAT('having has no value for the window that ends at ', CAST(`ends` AS STRING)) AS BOOLEAN) END;

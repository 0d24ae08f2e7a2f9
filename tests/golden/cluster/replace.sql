CREATE TABLE IF NOT EXISTS `default`.`laion_ledger_local` ON CLUSTER 'two'
(
    shard UInt32,
    at DateTime64(6) DEFAULT now64(6),
    state LowCardinality(String),
    rows UInt64,
    files String,
    worker String
)
ENGINE = MergeTree
ORDER BY (shard, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'The rows of laion_ledger on this node';

CREATE TABLE IF NOT EXISTS `default`.`laion_ledger` ON CLUSTER 'two'
AS `default`.`laion_ledger_local`
ENGINE = Distributed('two', 'default', 'laion_ledger_local', shard)
COMMENT 'What cliphouse has loaded, shard by shard';

DELETE FROM `default`.`laion_local` ON CLUSTER 'two' WHERE id BETWEEN 0 AND 4294967295;


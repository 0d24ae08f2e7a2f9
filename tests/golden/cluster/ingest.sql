CREATE TABLE IF NOT EXISTS `default`.`laion_ledger_local` ON CLUSTER 'two'
(
    shard UInt32,
    at DateTime64(6) DEFAULT now64(6),
    state LowCardinality(String),
    rows UInt64,
    files String,
    worker String,
    generation UInt32,
    attempt UInt32
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/default/laion_ledger_local/01234567/{shard}', '{replica}')
ORDER BY (shard, at)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800
COMMENT 'The rows of laion_ledger on this node';

CREATE TABLE IF NOT EXISTS `default`.`laion_ledger` ON CLUSTER 'two'
AS `default`.`laion_ledger_local`
ENGINE = Distributed('two', 'default', 'laion_ledger_local', shard)
COMMENT '{"cliphouse_ledger":{"version":2,"about":"What cliphouse has loaded, shard by shard"}}';

CREATE TABLE IF NOT EXISTS `default`.`laion_local` ON CLUSTER 'two'
(
    id Int64 SETTINGS (min_compress_block_size = 2048, max_compress_block_size = 2048),
    url String CODEC(LZ4) SETTINGS (min_compress_block_size = 4096, max_compress_block_size = 4096),
    caption String CODEC(LZ4) SETTINGS (min_compress_block_size = 4096, max_compress_block_size = 4096),
    NSFW LowCardinality(String) SETTINGS (min_compress_block_size = 2048, max_compress_block_size = 2048),
    similarity Float32 SETTINGS (min_compress_block_size = 2048, max_compress_block_size = 2048),
    image_embedding Array(Float32) CODEC(NONE),
    text_embedding Array(Float32) CODEC(NONE),
    width Int32 SETTINGS (min_compress_block_size = 2048, max_compress_block_size = 2048),
    height Int32 SETTINGS (min_compress_block_size = 2048, max_compress_block_size = 2048),
    license LowCardinality(String) SETTINGS (min_compress_block_size = 2048, max_compress_block_size = 2048)
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/default/laion_local/01234567/{shard}', '{replica}')
ORDER BY id
SETTINGS index_granularity = 64, min_bytes_for_wide_part = 0, materialize_skip_indexes_on_merge = 0, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800
COMMENT 'The rows of laion on this node';

CREATE TABLE IF NOT EXISTS `default`.`laion` ON CLUSTER 'two'
AS `default`.`laion_local`
ENGINE = Distributed('two', 'default', 'laion_local', intHash64(id))
COMMENT '{"cliphouse":{"version":3,"model":null,"dim":16,"precision":"float32","modalities":["image","text"],"measured":[],"codes":"none"}}';


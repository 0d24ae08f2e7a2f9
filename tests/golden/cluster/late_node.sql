CREATE TABLE IF NOT EXISTS `default`.`laion_local` ON CLUSTER 'big' (`id` Int64, INDEX image_index v TYPE vector_similarity('hnsw', 'cosineDistance', 2)) ENGINE = ReplicatedMergeTree('/clickhouse/tables/default/laion_local/01234567/{shard}', '{replica}') ORDER BY id;


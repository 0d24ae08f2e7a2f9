OPTIMIZE TABLE `default`.`laion_local` ON CLUSTER 'two' FINAL;

ALTER TABLE `default`.`laion_local` ON CLUSTER 'two' ADD INDEX IF NOT EXISTS image_index image_embedding TYPE vector_similarity('hnsw', 'cosineDistance', 16, 'bf16', 16, 128);

ALTER TABLE `default`.`laion_local` ON CLUSTER 'two' MATERIALIZE INDEX image_index;


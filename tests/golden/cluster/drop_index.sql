ALTER TABLE `default`.`laion_local` ON CLUSTER 'two' DROP INDEX IF EXISTS image_index;

ALTER TABLE `default`.`laion` ON CLUSTER 'two' MODIFY COMMENT '{"cliphouse":{"model":null,"dim":16,"precision":"float32","modalities":["image","text"],"measured":[],"codes":"none"}}';


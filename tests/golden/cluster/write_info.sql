ALTER TABLE `default`.`laion` ON CLUSTER 'two' MODIFY COMMENT '{"cliphouse":{"version":3,"model":"ViT-B/32","dim":16,"precision":"float32","modalities":["image","text"],"measured":[],"codes":"none"}}';


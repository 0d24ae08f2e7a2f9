SELECT id FROM `default`.`laion` SETTINGS prefer_localhost_replica = 0, load_balancing = 'in_order';

SELECT id FROM `default`.`laion` SETTINGS skip_unavailable_shards = 0, prefer_localhost_replica = 0, load_balancing = 'in_order';


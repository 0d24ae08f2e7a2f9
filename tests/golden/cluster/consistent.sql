SELECT id FROM `default`.`laion` SETTINGS prefer_localhost_replica = 0, load_balancing = 'in_order', use_hedged_requests = 0;


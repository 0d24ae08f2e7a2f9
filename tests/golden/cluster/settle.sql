SELECT DISTINCT _shard_num AS place FROM clusterAllReplicas('big', system.one) SETTINGS skip_unavailable_shards = 1;

SYSTEM SYNC REPLICA ON CLUSTER 'big' `default`.`laion_local`
-- with distributed_ddl_task_timeout = -1, distributed_ddl_output_mode = 'throw';


ALTER TABLE `default`.`laion_local` ON CLUSTER 'big' MATERIALIZE INDEX image_index
-- with mutations_sync = 0, distributed_ddl_task_timeout = -1, distributed_ddl_output_mode = 'throw';

KILL MUTATION ON CLUSTER 'big' WHERE database = 'default' AND table = 'laion_local' AND match(command, 'MATERIALIZE INDEX `?image_index`?(?:\\W|$)') SYNC
-- with distributed_ddl_task_timeout = -1, distributed_ddl_output_mode = 'throw';

SELECT _shard_num AS place, sum(parts_to_do) AS parts, max(latest_fail_reason) AS reason FROM clusterAllReplicas('big', system.mutations) WHERE NOT is_done AND database = 'default' AND table = 'laion_local' AND match(command, 'MATERIALIZE INDEX `?image_index`?(?:\\W|$)') GROUP BY place;

SELECT _shard_num AS place, count() AS builds FROM clusterAllReplicas('big', system.mutations) WHERE database = 'default' AND table = 'laion_local' AND match(command, 'MATERIALIZE INDEX `?image_index`?(?:\\W|$)') GROUP BY place;

SELECT _shard_num AS place, count() AS builds FROM clusterAllReplicas('big', system.mutations) WHERE database = 'default' AND table = 'laion_local' AND match(command, 'MATERIALIZE INDEX `?image_index`?(?:\\W|$)') GROUP BY place;

SELECT _shard_num AS place, count() AS parts FROM clusterAllReplicas('big', system.parts) WHERE active AND database = 'default' AND table = 'laion_local' GROUP BY place;

SELECT _shard_num AS place, sum(parts_to_do) AS parts, max(latest_fail_reason) AS reason FROM clusterAllReplicas('big', system.mutations) WHERE NOT is_done AND database = 'default' AND table = 'laion_local' AND match(command, 'MATERIALIZE INDEX `?image_index`?(?:\\W|$)') GROUP BY place;


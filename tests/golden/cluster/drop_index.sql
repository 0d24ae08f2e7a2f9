ALTER TABLE `default`.`laion_local` ON CLUSTER 'two' DROP INDEX IF EXISTS image_index;


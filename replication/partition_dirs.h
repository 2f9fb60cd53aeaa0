/* Names of the directories that a partition has had, and how they go. The picture is in partition_dirs.c.
 * Names returned are mem_alloc'ed. Runs on: the shard's thread, or a work job where nothing else is said. */
#pragma once

#include "base/env.h"

/* `<data_dir>/<topic>-<index>.<group>`: the topic cut to 200 bytes, as the group tells them apart. */
char *partition_dir_plain(const char *data_dir, uint64_t group, struct bytes topic, int32_t index);
char *partition_dir_generation(const char *plain, uint64_t generation);
char *partition_dir_staging(const char *plain);
char *partition_dir_parent(const char *dir);

struct partition_dir_name {
    uint64_t group;
    uint64_t generation;             /* 0: the plain one, or the staging */
    size_t plain_size;               /* of the front of the name that is the plain one's */
    bool is_staging;
    bool is_deleted;
};
/* A name within the data directory; false: none of ours. */
bool partition_dir_parse(const char *name, struct partition_dir_name *parsed);

/* Shard's thread: removes a directory with its files in a work job. */
void partition_dir_remove(struct env *env, const char *dir);
/* Renames the directory, so that its name is free at once. The new path, for partition_dir_remove(); NULL: it is not
 * there, or cannot be. Shard's thread, as it draws a random number. */
char *partition_dir_bury(struct env *env, const char *dir, uint64_t group);

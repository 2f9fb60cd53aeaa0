/* A disk in memory that loses power: what was not synced is kept, dropped or torn, sector by sector and name by name.
 *
 * Each file has its durable bytes and its current ones; sectors that differ are *dirty*. Names have a durable set and
 * the operations since the last sync of their directory. A crash makes a new disk, on which everything is durable, so
 * one run yields as many crashes as wanted, at any moment, and goes on undisturbed.
 *
 * Runs on: one thread. A broken precondition aborts: this is the ground that tests stand on. */
#pragma once

#include "base/bytes.h"
#include "base/env.h"

enum { CRASH_SECTOR_SIZE = 512 };

struct crash_disk;

enum crash_kind {
    CRASH_DROP,    /* nothing that was not synced survives */
    CRASH_KEEP,    /* all of it survives */
    CRASH_TEAR,    /* each sector and each name operation for itself */
    CRASH_GARBAGE, /* as TEAR, and sectors of a write in flight may hold anything */
    CRASH_KILL, /* the process dies, the machine lives: all names and finished writes stay, what is dirty stays dirty;
                      a write in flight is torn */
};

struct crash_disk *crash_disk_new(void);
void crash_disk_free(struct crash_disk *disk);
struct crash_disk *crash_disk_crash(const struct crash_disk *disk, enum crash_kind kind, struct rng *rng);

/* The calls of `struct disk`. Handles are numbers of this disk. */
enum err crash_disk_open(struct crash_disk *disk, const char *path, unsigned flags, int *handle);
void crash_disk_close(struct crash_disk *disk, int handle);
unsigned crash_disk_open_count(const struct crash_disk *disk);
uint64_t crash_disk_size(const struct crash_disk *disk, int handle);
void crash_disk_truncate(struct crash_disk *disk, int handle, uint64_t size);
void crash_disk_write(struct crash_disk *disk, int handle, uint64_t position, struct bytes bytes, bool is_in_flight);
/* The write in flight there is done: its bytes are durable, and the size that they need. */
void crash_disk_written(struct crash_disk *disk, int handle, uint64_t position, size_t size);
size_t crash_disk_read(const struct crash_disk *disk, int handle, uint64_t position, void *data, size_t size);
void crash_disk_sync(struct crash_disk *disk, int handle);
bool crash_disk_has_open_names(const struct crash_disk *disk); /* a directory is not synced */
enum err crash_disk_rename(struct crash_disk *disk, const char *source, const char *target);
enum err crash_disk_unlink(struct crash_disk *disk, const char *path);
void crash_disk_sync_dir(struct crash_disk *disk, const char *path);
void crash_disk_list(struct crash_disk *disk, const char *dir, disk_list_cb cb, void *context);

/* For tests: a file by name. */
uint8_t *crash_disk_data(struct crash_disk *disk, const char *path,
                         size_t *size); /* current and durable, to be changed; NULL */
void crash_disk_cut(struct crash_disk *disk, const char *path, size_t size);
void crash_disk_put(struct crash_disk *disk, const char *path, struct bytes bytes); /* durable, at once */

/* Content of one simulated file: what the page cache shows, and what the platter would show after a power loss.
 *
 * Pages of 4 KiB, allocated when written; a page that holds only zeros costs no memory. What is not durable is kept as
 * an undo: the last durable image of each page that was changed, with one bit a sector (512 bytes) that says which
 * sectors differ. So sync() and a power loss cost what was written since the last sync, not the size of the file.
 *
 * Rules of a power loss, adversarial within what ext4 and a disk may do:
 *   - each sector not synced is kept, dropped, or torn, by itself; also by prefix, all, or none; bytes of a torn sector
 *     that are the same before and after the write stay as they are;
 *   - a size not synced is kept, dropped, or anything between when it grew; what lies between reads as zeros;
 *   - a cut not synced happened as a whole or not at all (decided when it is made); if not, the file is what it was
 *     when it was last synced;
 *   - a sector written again before a sync may be found in any of its versions: writing back happens at any time;
 *   - after a sync that failed, what was dirty is forgotten: a later sync does not make it durable. */
#pragma once

#include "tests/lib/sim_internal.h"

enum { SIM_SECTOR_SIZE = 512, SIM_PAGE_SIZE = 4096, SIM_PAGE_SECTORS = SIM_PAGE_SIZE / SIM_SECTOR_SIZE };

struct sim_page {
    uint8_t *data;     /* NULL: zeros */
    uint8_t *undo;     /* durable image; NULL with dirty != 0: zeros */
    uint8_t dirty;     /* one bit a sector: may differ from what is durable */
    uint8_t forgotten; /* dirty, but no sync will write it: a sync failed */
    bool is_allocated; /* counts as used space */
    bool is_listed;    /* in the file's dirty list */
};

struct sim_file {
    uint64_t size;
    uint64_t size_durable;
    bool is_cut_lost; /* a power loss takes everything back to the last sync */
    struct sim_page *pages;
    size_t page_count;
    uint32_t *dirty; /* numbers of pages with undo */
    size_t dirty_count;
    size_t dirty_capacity;
    struct list link;   /* of the disk's files that are not all durable */
    uint64_t *used;     /* of the disk: pages allocated, in bytes */
    struct list *dirty_files;
};

void sim_file_init(struct sim_file *file, uint64_t *used, struct list *dirty_files);
void sim_file_deinit(struct sim_file *file);
size_t sim_file_read(const struct sim_file *file, uint64_t position, void *data, size_t size);
/* Through the page cache. Returns what was written: less than size when `capacity` is reached. */
size_t sim_file_write(struct sim_file *file, uint64_t position, const uint8_t *data, size_t size, uint64_t capacity,
                      struct sim_random *random);
/* Durable when it returns. */
size_t sim_file_write_durable(struct sim_file *file, uint64_t position, const uint8_t *data, size_t size,
                              uint64_t capacity);
/* A write that the process did not live to see the end of: any of its sectors, none of them surely durable. */
void sim_file_write_partly(struct sim_file *file, uint64_t position, const uint8_t *data, size_t size,
                           uint64_t capacity, struct sim_random *random);
void sim_file_truncate(struct sim_file *file, uint64_t size, struct sim_random *random);
/* Zeros up to `size`, which take their space now. False, and nothing done: `capacity` does not suffice. */
bool sim_file_allocate(struct sim_file *file, uint64_t size, uint64_t capacity);
void sim_file_sync(struct sim_file *file);
void sim_file_sync_fail(struct sim_file *file, struct sim_random *random);
void sim_file_power_loss(struct sim_file *file, struct sim_random *random);

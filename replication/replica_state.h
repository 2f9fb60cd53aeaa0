/* How the state of a machine travels to another replica (catchup.h drives it): as a few files, and a block of bytes
 * that says what else there is. A *source* is a state captured to be sent, a *stage* is where one that comes is put
 * together. Both are made by the machine and outlive it: they hold what they need.
 *
 * Order of a stage: begin, then for each file resume, write ..., finish, then seal; begin again at any time with a
 * newer manifest. What is staged outlives the stage and the process, for the next one to go on with, unless it is
 * discarded. ops->install() of the machine takes what was sealed last.
 *
 * Runs on: the shard's thread, but for the calls marked (job), which run in work jobs, one at a time for each object.
 * */
#pragma once

#include "base/bytes.h"
#include "base/dynbuf.h"

struct replica_file {
    uint64_t id;                     /* the machine's name for it */
    uint64_t size;
};

/* A state as it stands at `index`. Pointers are borrowed. */
struct replica_manifest {
    uint64_t index;                  /* applied */
    const struct replica_file *files; /* distinct, at most CATCHUP_FILE_COUNT_MAX; in the order they are pulled */
    size_t file_count;
    struct bytes state;              /* the machine's; at most CATCHUP_STATE_SIZE_MAX */
};

struct replica_source;
struct replica_source_ops {
    /* (job) Once, before the rest: files and state are complete afterwards. */
    enum err (*prepare)(struct replica_source *source, struct errmsg *msg);
    /* (job) Exactly `size` bytes. ERR_NOT_FOUND: the file is gone, with its machine. ERR_DAMAGED: the bytes here are
     * wrong; the replica goes out of service. */
    enum err (*read)(struct replica_source *source, const struct replica_file *file, uint64_t position, void *data,
                     size_t size, struct errmsg *msg);
    void (*close)(struct replica_source *source);
};
struct replica_source {
    const struct replica_source_ops *ops;
    struct replica_file *files;      /* mem_alloc'ed; close() frees */
    size_t file_count;
    struct dynbuf state;
};

enum replica_stage_end {
    REPLICA_STAGE_KEPT,              /* for the next stage; what was sealed is not to be taken any more */
    REPLICA_STAGE_TAKEN,             /* what was sealed is the machine's, or may become it at the next start */
    REPLICA_STAGE_DISCARDED,         /* the member is gone, or has the log: nothing stays */
};

struct replica_stage;
struct replica_stage_ops {
    /* (job) Makes room for this state. What an earlier manifest left stays as far as this one says the same of it.
     * ERR_CORRUPT: the manifest does not add up. */
    enum err (*begin)(struct replica_stage *stage, const struct replica_manifest *manifest, struct errmsg *msg);
    /* (job) How much of the file is here, checked; the rest must be written. */
    enum err (*resume)(struct replica_stage *stage, size_t file, uint64_t *size, struct errmsg *msg);
    /* (job) Goes on where resume() or the write before ended. */
    enum err (*write)(struct replica_stage *stage, size_t file, uint64_t position, struct bytes bytes,
                      struct errmsg *msg);
    /* (job) All of the file is here: checks and syncs it. ERR_DAMAGED: some of it is wrong, resume() says from where.
     * */
    enum err (*finish)(struct replica_stage *stage, size_t file, struct errmsg *msg);
    /* (job) All files are finished: makes everything durable under the name of the manifest's index. */
    enum err (*seal)(struct replica_stage *stage, struct errmsg *msg);
    /* No job is under way. */
    void (*close)(struct replica_stage *stage, enum replica_stage_end end);
};
struct replica_stage {
    const struct replica_stage_ops *ops;
    bool is_whole;                   /* a newer manifest makes nothing of what is staged useful: one round */
};

/* Shared by metadata.c (records) and metadata_state.c (catch-up). Private to them. */
#pragma once

#include "metadata/apply.h"
#include "metadata/metadata.h"

struct metadata {
    struct replica_machine machine;
    struct env *env;
    struct store *store;
    struct metadata_events events;
    struct kv_txn *txn;       /* open from the first apply of a turn to its end */
    struct store_state state; /* as in `txn`, or as committed */
    struct apply_changes changes;
    struct list waiting;  /* metadata_propose, in order of proposal */
    struct list answered; /* decided, to be called back */
    struct task answer;
    bool is_ready_leader;
    bool is_opened;    /* replay of the start is over: changes are news */
    bool has_dumps;    /* files of catch-ups may lie beside the store */
};

/* metadata_state.c */
struct replica_source *metadata_source(struct replica_machine *machine);
struct replica_stage *metadata_stage(struct replica_machine *machine);
void metadata_install(struct replica_machine *machine, uint64_t index);
/* A checkpoint up to here is durable, or the start is over: dumps that nobody can ask for any more go. */
void metadata_sweep(struct metadata *metadata, uint64_t durable_index);

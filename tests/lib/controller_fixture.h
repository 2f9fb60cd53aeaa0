/* A controller's surroundings: store, reader, and metadata over a replica that does what the test says
 * (fake_replica.h, so this too is included in exactly one file of a test), which leads in term 3. Groups are at term 7.
 * Runs on: the test's thread. */
#ifndef TESTS_LIB_CONTROLLER_FIXTURE_H
#define TESTS_LIB_CONTROLLER_FIXTURE_H

#include "metadata/controller.h"
#include "tests/lib/fake_replica.h"
#include "tests/lib/turn_env.h"

struct controller_fixture {
    char *dir;
    struct turn_env turn;
    struct store *store;
    struct store_reader *reader;
    struct metadata *metadata;
    struct replica *replica;
};

static inline void controller_fixture_on_role(void *owner, const struct replica_status *status)
{
    (void)owner;
    (void)status;
}

static inline void controller_fixture_on_closed(struct replica_machine *machine)
{
    (void)machine;
}

static inline uint64_t controller_fixture_term(void *owner, uint64_t group)
{
    (void)owner;
    (void)group;
    return 7;
}

/* Beside the store there is nothing that a former life could have left. */
static inline enum err controller_fixture_list(struct disk *disk, const char *path, disk_list_cb cb, void *context)
{
    (void)disk;
    (void)path;
    (void)cb;
    (void)context;
    return OK;
}

static inline const char *controller_fixture_default(void *context, const char *key)
{
    (void)context;
    (void)key;
    return NULL;
}

/* For tests that ask nothing of changes. */
static inline void controller_fixture_no_change(void *owner, const struct metadata_change *changes, size_t count)
{
    (void)owner;
    (void)changes;
    (void)count;
}

typedef void (*controller_fixture_changed)(void *owner, const struct metadata_change *changes, size_t count);

static inline void controller_fixture_init(struct controller_fixture *fixture, controller_fixture_changed on_changed)
{
    static struct disk empty_disk = {.list = controller_fixture_list};
    struct metadata_events events = {NULL, on_changed, controller_fixture_on_role};
    fixture->dir = test_dir_make();
    turn_env_init(&fixture->turn, 1);
    fixture->turn.env.disk = &empty_disk;
    ck_assert_int_eq(store_open(fixture->dir, &fixture->store, NULL), OK);
    fixture->reader = store_reader_open(fixture->store, &fixture->turn.env);
    ck_assert_int_eq(
        metadata_open(&fixture->turn.env, fixture->store, BYTES_NONE, &events, &fixture->metadata, NULL), OK);
    fixture->replica = fake_replica_open(metadata_machine(fixture->metadata), METADATA_GROUP);
    fake_replica_role(fixture->replica, REPLICA_LEADER, 3, true);
}

/* Defaults of one partition with one replica; the test adds what it is about. */
static inline struct controller_params controller_fixture_params(struct controller_fixture *fixture)
{
    return (struct controller_params){.env = &fixture->turn.env,
                                      .metadata = fixture->metadata,
                                      .reader = fixture->reader,
                                      .defaults = {.value = controller_fixture_default},
                                      .partitions_default = 1,
                                      .replication_factor_default = 1,
                                      .group_term = controller_fixture_term};
}

/* What was proposed is decided, and the reader has it. */
static inline void controller_fixture_decide(struct controller_fixture *fixture)
{
    (void)fake_replica_apply_all(fixture->replica);
    turn_env_run(&fixture->turn);
    store_reader_refresh(fixture->reader);
}

/* After the controller is closed. */
static inline void controller_fixture_deinit(struct controller_fixture *fixture)
{
    struct replica_machine *machine = metadata_machine(fixture->metadata);
    machine->closed = controller_fixture_on_closed;
    machine->ops->close(machine);
    turn_env_run(&fixture->turn);
    fake_replica_close(fixture->replica);
    store_reader_close(fixture->reader);
    store_close(fixture->store);
    turn_env_deinit(&fixture->turn);
    test_dir_remove(fixture->dir);
}

#endif

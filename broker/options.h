/* Options of the broker: one table with Kafka's names, types, defaults, bounds and meaning. They come from a
 * server.properties file (--config), from BALSA_<KEY WITH _ FOR .> environment variables, and from --set key=value;
 * later ones win in that order. An unknown key or a bad value stops the start with a message that names it and where it
 * was found.
 *
 * Pure but for options_load_file(); read-only after the start, so every thread may read it. */
#pragma once

#include "base/bytes.h"
#include "metadata/topic_config.h"
#include <stdio.h>

#define OPTION_LISTENERS_MAX 8
#define OPTION_SEEDS_MAX 5
#define RACK_AWARE_SELECTOR "org.apache.kafka.common.replica.RackAwareReplicaSelector"

struct option_listener {
    char name[64];  /* PLAINTEXT */
    char host[256]; /* to bind: empty or 0.0.0.0 is every interface */
    uint16_t port;
    char advertised_host[256]; /* empty: the address a client came in on */
    uint16_t advertised_port;  /* 0: port */
};

struct option_seed { /* where a founding broker's peer listener is */
    char host[256];
    uint16_t port;
};

struct options {
    /* Decoded values that code asks for often; the text of every key is there through options_text(). */
    int32_t node_id;
    char log_dirs[1024]; /* data directory; default ./balsa-data */
    struct option_listener listeners[OPTION_LISTENERS_MAX];
    unsigned listener_count;
    /* For brokers, never told to clients: the one of controller.listener.names. Its advertised fields are filled in,
     * but for a port of 0: the real one then. */
    struct option_listener peer_listener;
    bool has_peer_listener;
    struct option_listener admin_listeners[OPTION_LISTENERS_MAX]; /* balsa.admin.listeners: host and port alone */
    unsigned admin_listener_count;
    bool is_admin_asked_for;                    /* not by default alone: then a port that is taken stops the start */
    struct option_seed seeds[OPTION_SEEDS_MAX]; /* controller.quorum.bootstrap.servers */
    unsigned seed_count;                        /* 0, 1, 3 or 5 */
    char rack[256];
    unsigned shards;         /* balsa.shards, default: cores */
    bool auto_create_topics; /* auto.create.topics.enable */
    int32_t num_partitions;
    int16_t default_replication_factor;
    int64_t request_size_max; /* socket.request.max.bytes */
    /* queued.max.request.bytes: budget of a process for requests and responses in flight */
    int64_t request_memory_max;
    int64_t connections_max_idle_ms;
    int32_t connections_max;             /* max.connections */
    int64_t slow_request_us;             /* balsa.slow.request.ms; 0: none is slow */
    int32_t fetch_size_max;              /* fetch.max.bytes */
    int32_t fetch_session_slots;         /* max.incremental.fetch.session.cache.slots, of all shards */
    bool is_rack_aware;                  /* replica.selector.class: consumers may read from followers in their rack */
    int64_t disk_reserve;                /* balsa.disk.reserve.bytes: below this much free space produce is refused */
    uint64_t wal_file_size;              /* balsa.wal.file.bytes */
    uint64_t wal_size_max;               /* balsa.wal.max.bytes, a shard */
    int32_t heartbeat_ms;                /* balsa.raft.heartbeat.ms */
    int32_t election_ms;                 /* balsa.raft.election.timeout.ms */
    int64_t session_timeout_ms;          /* broker.session.timeout.ms */
    int64_t voter_timeout_ms;            /* balsa.metadata.voter.timeout.ms */
    bool is_leadership_balanced;         /* auto.leader.rebalance.enable */
    int64_t imbalance_check_interval_us; /* leader.imbalance.check.interval.seconds */
    unsigned moves_max;                  /* balsa.moves.max */
    int64_t scrub_bytes_per_second;      /* balsa.scrub.bytes.per.second: of all shards; 0: none */
    int64_t catchup_bytes_per_second;    /* balsa.catchup.bytes.per.second: all shards, each way; 0: see there */
    unsigned catchups_max;               /* balsa.catchups.max */
    int64_t checkpoint_interval_ms;      /* balsa.checkpoint.interval.ms */
    bool is_cleaner_enabled;             /* log.cleaner.enable */
    int64_t cleaner_memory_size;         /* log.cleaner.dedupe.buffer.size: of all shards */
    int64_t cleaner_bytes_per_second;    /* log.cleaner.io.max.bytes.per.second: of all shards; 0: no limit */
    int64_t cleaner_backoff_ms;          /* log.cleaner.backoff.ms */
    int64_t retention_check_interval_ms; /* log.retention.check.interval.ms */
    struct option_seed http;             /* balsa.http.listener; an empty host is every interface */
    bool has_http;
    int32_t group_session_min_ms;        /* group.min.session.timeout.ms */
    int32_t group_session_max_ms;        /* group.max.session.timeout.ms */
    int32_t group_initial_delay_ms;      /* group.initial.rebalance.delay.ms */
    int32_t group_size_max;              /* group.max.size; GROUP_MEMBER_COUNT_MAX holds as well */
    size_t offset_metadata_size_max;     /* offset.metadata.max.bytes */
    int64_t offsets_retention_ms;        /* offsets.retention.minutes */
    int64_t offsets_check_interval_ms;   /* offsets.retention.check.interval.ms */
    char log_level[16];                  /* balsa.log.level */
    struct option_value *values;         /* private: text and source of every key */
    char derived_retention_ms[24];       /* private: log.retention.minutes or .hours, for topics; empty: not set */
    char derived_roll_ms[24];            /* private: log.roll.hours */
};

enum option_source {
    OPTION_DEFAULT,
    OPTION_FILE,
    OPTION_ENVIRONMENT,
    OPTION_FLAG
};

struct option_key {
    const char *name;  /* Kafka's, or balsa.* for ours */
    const char *alias; /* another name for the same; NULL: none */
    enum config_type type;
    const char *default_text; /* NULL: not set */
    enum config_use use;
    const char *documentation;
    struct config_rule rule;
};
const struct option_key *options_keys(size_t *count);
/* Why a key that Kafka knows cannot be set here; NULL: it is simply unknown. */
const char *options_refusal(const char *key);

void options_init(struct options *options);
void options_deinit(struct options *options);
/* "key=value" lines as java.util.Properties reads them (broker/properties.h). ERR_INVALID names the line. */
MUST_CHECK enum err options_load_text(struct options *options, struct bytes text, const char *file, struct errmsg *msg);
MUST_CHECK enum err options_load_file(struct options *options, const char *path, struct errmsg *msg);
/* BALSA_NODE_ID is node.id; a key balsa.x.y may be written BALSA_X_Y or BALSA_BALSA_X_Y. Left alone: BALSA_HOME and
 * BALSA_PORT, which belong to scripts, and the variables that Kubernetes makes for a service called balsa. */
MUST_CHECK enum err options_load_environment(struct options *options, char *const *environment, struct errmsg *msg);
/* `where` names the place in messages: "server.properties:12". */
MUST_CHECK enum err options_set(struct options *options, const char *key, const char *value, enum option_source source,
                                const char *where, struct errmsg *msg);
/* Checks what depends on more than one key and fills the decoded fields. Warns of keys that are set without effect. */
MUST_CHECK enum err options_finish(struct options *options, struct errmsg *msg);
/* By name or alias. NULL: unknown key, or not set and without default. `source` may be NULL. */
const char *options_text(const struct options *options, const char *key, enum option_source *source);
void options_print_help(void);          /* each key with type, default and meaning, to stdout */
void options_print_markdown(FILE *out); /* docs/CONFIGURATION.md: these keys and those of topics */
/* The broker-level defaults that topics inherit, without what was altered (broker/topic_defaults.h). */
struct topic_config_defaults options_topic_defaults(const struct options *options);

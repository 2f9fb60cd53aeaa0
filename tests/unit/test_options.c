/* The broker's options: sources, checks, what the code gets, and the page that documents them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/process.h"
#include "broker/options.h"
#include "tests/lib/test.h"

#define SHOWN_MAX 300

/* Loads `text` as a file and finishes. The caller deinits in any case. */
static enum err load(struct options *options, const char *text, struct errmsg *msg)
{
    options_init(options);
    enum err err = options_load_text(options, bytes_from_text(text), "test.properties", msg);
    return err == OK ? options_finish(options, msg) : err;
}

static void assert_refused(const char *text, const char *message)
{
    struct options options;
    struct errmsg msg = {""};
    ck_assert_msg(load(&options, text, &msg) != OK, "%s was accepted", text);
    ck_assert_msg(strcmp(msg.text, message) == 0, "%s\n  is:       %s\n  expected: %s", text, msg.text, message);
    options_deinit(&options);
}

/* ---- The table ---- */

/* Goal: one meaning for one name. Method: each name and alias against all others, and as an environment variable. */
START_TEST(names_are_unique)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(strlen(keys[i].documentation) > 0, "%s", keys[i].name);
        ck_assert_msg(keys[i].use != CONFIG_DEFAULT_ONLY || keys[i].default_text != NULL, "%s", keys[i].name);
        for (size_t j = 0; j < count; j++) {
            const char *own = strncmp(keys[j].name, "balsa.", 6) == 0 ? keys[j].name + 6 : keys[j].name;
            ck_assert_msg(i == j || strcmp(keys[i].name, keys[j].name) != 0, "%s", keys[i].name);
            ck_assert_msg(i == j || strcmp(keys[i].name, own) != 0, "%s and %s", keys[i].name, keys[j].name);
            ck_assert_msg(keys[j].alias == NULL || strcmp(keys[i].name, keys[j].alias) != 0, "%s", keys[i].name);
        }
    }
}
END_TEST

/* Goal: every default is a value that one may write, and survives it. Method: a file with all of them; each text comes
 * back as it was, from the file. */
START_TEST(every_default_survives_a_round_trip)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    struct dynbuf text;
    struct options options;
    struct errmsg msg = {""};
    dynbuf_init(&text, KIB(64));
    options_init(&options);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].default_text != NULL) {
            ck_assert_int_eq(dynbuf_printf(&text, "%s=%s\n", keys[i].name, keys[i].default_text), OK);
        }
    }
    ck_assert_msg(options_load_text(&options, dynbuf_bytes(&text), "f", &msg) == OK, "%s", msg.text);
    ck_assert_msg(options_finish(&options, &msg) == OK, "%s", msg.text);
    for (size_t i = 0; i < count; i++) {
        enum option_source source;
        const char *value = options_text(&options, keys[i].name, &source);
        ck_assert_int_eq(source, keys[i].default_text != NULL ? OPTION_FILE : OPTION_DEFAULT);
        ck_assert_pstr_eq(value, keys[i].default_text);
    }
    options_deinit(&options);
    dynbuf_deinit(&text);
}
END_TEST

/* Goal: a broker's key and the topic's key that inherits from it agree. Method: types, rules and defaults of each
 * pair. */
START_TEST(defaults_of_topics_are_those_of_the_broker)
{
    size_t topic_count;
    size_t count;
    size_t pairs = 0;
    const struct topic_config_key *topics = topic_config_keys(&topic_count);
    const struct option_key *keys = options_keys(&count);
    for (size_t i = 0; i < topic_count; i++) {
        for (size_t j = 0; j < count; j++) {
            if (topics[i].broker_key == NULL || strcmp(topics[i].broker_key, keys[j].name) != 0) {
                continue;
            }
            char of_topic[160];
            char of_broker[160];
            config_expected(topics[i].type, &topics[i].rule, of_topic, sizeof(of_topic));
            config_expected(keys[j].type, &keys[j].rule, of_broker, sizeof(of_broker));
            ck_assert_msg(topics[i].type == keys[j].type, "%s", keys[j].name);
            ck_assert_msg(strcmp(of_topic, of_broker) == 0, "%s: %s, %s", keys[j].name, of_topic, of_broker);
            if (keys[j].default_text != NULL) {
                ck_assert_msg(strcmp(topics[i].default_value, keys[j].default_text) == 0, "%s", keys[j].name);
            }
            pairs++;
        }
    }
    ck_assert_uint_gt(pairs, 25);
}
END_TEST

/* ---- What code gets ---- */

/* Goal: nothing set is a cluster of one with the documented values. Method: every decoded field. */
START_TEST(defaults_are_decoded)
{
    struct options options;
    struct errmsg msg = {""};
    ck_assert_msg(load(&options, "", &msg) == OK, "%s", msg.text);
    unsigned cores = process_cores();
    ck_assert_int_eq(options.node_id, 1);
    ck_assert_str_eq(options.log_dirs, "./balsa-data");
    ck_assert_uint_eq(options.listener_count, 1);
    ck_assert_str_eq(options.listeners[0].name, "PLAINTEXT");
    ck_assert_str_eq(options.listeners[0].host, "");
    ck_assert_uint_eq(options.listeners[0].port, 9092);
    ck_assert_str_eq(options.listeners[0].advertised_host, "");
    ck_assert_uint_eq(options.listeners[0].advertised_port, 0);
    ck_assert_str_eq(options.rack, "");
    ck_assert_uint_eq(options.shards, cores < SHARD_COUNT_MAX ? cores : SHARD_COUNT_MAX);
    ck_assert(options.auto_create_topics);
    ck_assert_int_eq(options.num_partitions, 1);
    ck_assert_int_eq(options.default_replication_factor, 1);
    ck_assert_int_eq(options.request_size_max, (int64_t)REQUEST_SIZE_MAX);
    ck_assert_int_eq(options.request_memory_max, (int64_t)MIB(256));
    ck_assert_int_eq(options.connections_max_idle_ms, 600000);
    ck_assert_int_eq(options.connections_max, 20000);
    ck_assert_int_eq(options.fetch_size_max, 57671680);
    ck_assert_int_eq(options.disk_reserve, (int64_t)MIB(256));
    ck_assert_uint_eq(options.wal_file_size, WAL_FILE_SIZE);
    ck_assert_uint_eq(options.wal_size_max, GIB(1));
    ck_assert_int_eq(options.heartbeat_ms, 400);
    ck_assert_int_eq(options.election_ms, 2000);
    ck_assert_int_eq(options.session_timeout_ms, 9000);
    ck_assert_int_eq(options.voter_timeout_ms, 60000);
    ck_assert_uint_eq(options.moves_max, 32);
    ck_assert_uint_eq(options.catchups_max, 8);
    ck_assert(!options.has_peer_listener);
    ck_assert_uint_eq(options.seed_count, 0);
    ck_assert_int_eq(options.checkpoint_interval_ms, 30000);
    ck_assert_int_eq(options.retention_check_interval_ms, 300000);
    ck_assert_str_eq(options.log_level, "info");
    ck_assert_ptr_null(options_text(&options, "no.such.key", NULL));
    ck_assert_ptr_null(options_text(&options, "log.retention.ms", NULL));
    ck_assert_str_eq(options_text(&options, "inter.broker.protocol.version", NULL), "3.9");
    options_deinit(&options);
}
END_TEST

/* Goal: what is set reaches the fields. Method: one of each kind, aliases and blanks among them. */
START_TEST(settings_are_decoded)
{
    struct options options;
    struct errmsg msg = {""};
    const char *text = "broker.id = 7\nlog.dir=/data\nbroker.rack=r1\nbalsa.shards=3\nauto.create.topics.enable=FALSE\n"
                       "num.partitions=12\ndefault.replication.factor=3\nbalsa.log.level=debug\n"
                       "balsa.wal.file.bytes=33554432\nbalsa.wal.max.bytes=134217728\n";
    ck_assert_msg(load(&options, text, &msg) == OK, "%s", msg.text);
    ck_assert_int_eq(options.node_id, 7);
    ck_assert_str_eq(options.log_dirs, "/data");
    ck_assert_str_eq(options.rack, "r1");
    ck_assert_uint_eq(options.shards, 3);
    ck_assert(!options.auto_create_topics);
    ck_assert_int_eq(options.num_partitions, 12);
    ck_assert_int_eq(options.default_replication_factor, 3);
    ck_assert_str_eq(options.log_level, "debug");
    ck_assert_uint_eq(options.wal_size_max / options.wal_file_size, 4);
    ck_assert_str_eq(options_text(&options, "node.id", NULL), "7");
    ck_assert_str_eq(options_text(&options, "broker.id", NULL), "7");
    options_deinit(&options);
}
END_TEST

struct listener_case {
    const char *text;
    unsigned count;
    struct option_listener last;
};

static const struct listener_case listener_cases[] = {
    {"listeners=PLAINTEXT://0.0.0.0:19092", 1, {"PLAINTEXT", "0.0.0.0", 19092, "", 0}},
    {"listeners=plaintext://host:0", 1, {"PLAINTEXT", "host", 0, "", 0}},
    {"listeners=PLAINTEXT://[::1]:9092", 1, {"PLAINTEXT", "::1", 9092, "", 0}},
    {"advertised.listeners=PLAINTEXT://k1.example.org:29092", 1, {"PLAINTEXT", "", 9092, "k1.example.org", 29092}},
    {"advertised.listeners=PLAINTEXT://:29092", 1, {"PLAINTEXT", "", 9092, "", 29092}},
    {"listeners=PLAINTEXT://:1 , OUT://:2\nlistener.security.protocol.map=OUT:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"
     "advertised.listeners=OUT://[fe80::1]:3,PLAINTEXT://in:1",
     2,
     {"OUT", "", 2, "fe80::1", 3}},
};

/* Goal: the admin service has an address of its own, loopback by default, and none when that is asked for. */
START_TEST(admin_listeners_are_decoded)
{
    struct options options;
    struct errmsg msg;
    ck_assert_int_eq(load(&options, "", &msg), OK);
    ck_assert_uint_eq(options.admin_listener_count, 1);
    ck_assert_str_eq(options.admin_listeners[0].host, "127.0.0.1");
    ck_assert_uint_eq(options.admin_listeners[0].port, 9292);
    ck_assert(!options.is_admin_asked_for);
    options_deinit(&options);
    ck_assert_int_eq(load(&options, "balsa.admin.listeners=[::1]:1, 0.0.0.0:0\n", &msg), OK);
    ck_assert_uint_eq(options.admin_listener_count, 2);
    ck_assert_str_eq(options.admin_listeners[0].host, "::1");
    ck_assert_uint_eq(options.admin_listeners[1].port, 0);
    ck_assert(options.is_admin_asked_for);
    options_deinit(&options);
    ck_assert_int_eq(load(&options, "balsa.admin.listeners=\n", &msg), OK);
    ck_assert_uint_eq(options.admin_listener_count, 0);
    options_deinit(&options);
}
END_TEST

/* Goal: listeners as Kafka writes them. */
START_TEST(listeners_are_decoded)
{
    const struct listener_case *c = &listener_cases[_i];
    struct options options;
    struct errmsg msg = {""};
    ck_assert_msg(load(&options, c->text, &msg) == OK, "%s", msg.text);
    ck_assert_uint_eq(options.listener_count, c->count);
    const struct option_listener *last = &options.listeners[c->count - 1];
    ck_assert_str_eq(last->name, c->last.name);
    ck_assert_str_eq(last->host, c->last.host);
    ck_assert_uint_eq(last->port, c->last.port);
    ck_assert_str_eq(last->advertised_host, c->last.advertised_host);
    ck_assert_uint_eq(last->advertised_port, c->last.advertised_port);
    options_deinit(&options);
}
END_TEST

/* Goal: the listener for brokers stands apart from those for clients, and seeds are addresses, with or without Kafka's
 * ids. Method: listener in the middle of three, three seeds in each notation. */
START_TEST(brokers_listener_and_seeds_are_decoded)
{
    static const char *const notations[] = {
        "controller.quorum.bootstrap.servers=a:1, b:2,[::1]:3",
        "controller.quorum.voters=1@a:1,2@b:2,3@[::1]:3",
    };
    for (size_t i = 0; i < array_count(notations); i++) {
        struct options options;
        struct errmsg msg = {""};
        char text[1000];
        (void)snprintf(text, sizeof(text),
                       "listeners=PLAINTEXT://:9092,PEER://:9192,OUT://:9093\ncontroller.listener.names=PEER\n"
                       "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OUT:PLAINTEXT\n"
                       "advertised.listeners=PEER://me:19192\n%s\n",
                       notations[i]);
        ck_assert_msg(load(&options, text, &msg) == OK, "%s", msg.text);
        ck_assert_uint_eq(options.listener_count, 2);
        ck_assert_str_eq(options.listeners[1].name, "OUT");
        ck_assert(options.has_peer_listener);
        ck_assert_str_eq(options.peer_listener.name, "PEER");
        ck_assert_uint_eq(options.peer_listener.port, 9192);
        ck_assert_str_eq(options.peer_listener.advertised_host, "me");
        ck_assert_uint_eq(options.peer_listener.advertised_port, 19192);
        ck_assert_uint_eq(options.seed_count, 3);
        ck_assert_str_eq(options.seeds[0].host, "a");
        ck_assert_uint_eq(options.seeds[1].port, 2);
        ck_assert_str_eq(options.seeds[2].host, "::1");
        options_deinit(&options);
    }
}
END_TEST

/* Goal: without an advertised address brokers are told the bound one. */
START_TEST(brokers_listener_advertises_its_host)
{
    struct options options;
    struct errmsg msg = {""};
    ck_assert_msg(load(&options, "listeners=PLAINTEXT://:9092,PEER://h:9192\ncontroller.listener.names=PEER\n", &msg) ==
                      OK,
                  "%s", msg.text);
    ck_assert_str_eq(options.peer_listener.advertised_host, "h");
    ck_assert_uint_eq(options.peer_listener.advertised_port, 9192);
    ck_assert_uint_eq(options.seed_count, 0);
    options_deinit(&options);
}
END_TEST

/* ---- What is refused ---- */

struct refused_case {
    const char *text;
    const char *message;
};

#define PEER "listeners=PLAINTEXT://:9092,PEER://h:9192\ncontroller.listener.names=PEER\n"

static const struct refused_case refused_cases[] = {
    {"foo=bar", "foo=bar (test.properties:1): unknown key"},
    {"# x\n\nnode.id=abc", "node.id=abc (test.properties:3): expected an integer from 0 to 2147483647"},
    {"node.id=-1", "node.id=-1 (test.properties:1): expected an integer from 0 to 2147483647"},
    {"node.id=1\nbroker.id=2", "broker.id=2 (test.properties:2): node.id=1 (test.properties:1) means the same key"},
    {"auto.create.topics.enable=1", "auto.create.topics.enable=1 (test.properties:1): expected true or false"},
    {"balsa.log.level=loud", "balsa.log.level=loud (test.properties:1): expected one of: debug, info, warn, error"},
    {"balsa.shards=65", "balsa.shards=65 (test.properties:1): expected an integer from 0 to 64"},
    {"log.cleanup.policy=none", "log.cleanup.policy=none (test.properties:1): expected delete, compact, or both"},
    {"unclean.leader.election.enable=true",
     "unclean.leader.election.enable=true (test.properties:1): only 'false' is possible: Only a replica that has every "
     "acknowledged write becomes leader."},
    {"inter.broker.protocol.version=2.8",
     "inter.broker.protocol.version=2.8 (test.properties:1): only '3.9' is possible: "
     "Tools read from it which requests the broker understands."},
    {"zookeeper.connect=localhost:2181", "zookeeper.connect=localhost:2181 (test.properties:1): there is no ZooKeeper: "
                                         "brokers keep the metadata themselves; remove the key"},
    {"ssl.keystore.location=/x", "ssl.keystore.location=/x (test.properties:1): TLS is not available; remove the key"},
    {"process.roles=controller", "process.roles=controller (test.properties:1): expected broker, or broker,controller"},
    {"log.dirs=/a,/b", "log.dirs=/a,/b (test.properties:1): expected one directory"},
    {"log.dirs=", "log.dirs= (test.properties:1): expected one directory"},
    {"log.retention.ms=0", "log.retention.ms=0 (test.properties:1): expected -1 or a positive number"},
    {"a=\\u1", "test.properties: line 1: \\u needs four hexadecimal digits"},
    /* Relations */
    {"balsa.raft.heartbeat.ms=401", "balsa.raft.election.timeout.ms=2000 (default): expected at least 5 times "
                                    "balsa.raft.heartbeat.ms=401 (test.properties:1)"},
    {"balsa.wal.file.bytes=67108865", "balsa.wal.file.bytes=67108865 (test.properties:1): expected a multiple of 4096"},
    {"balsa.wal.max.bytes=268435455", "balsa.wal.max.bytes=268435455 (test.properties:1): expected 4 to 64 times "
                                      "balsa.wal.file.bytes=67108864 (default)"},
    {"balsa.wal.max.bytes=4362076160", "balsa.wal.max.bytes=4362076160 (test.properties:1): expected 4 to 64 times "
                                       "balsa.wal.file.bytes=67108864 (default)"},
    {"socket.request.max.bytes=1048588", "socket.request.max.bytes=1048588 (test.properties:1): expected more than "
                                         "message.max.bytes=1048588 (default)"},
    {"queued.max.request.bytes=104857599", "queued.max.request.bytes=104857599 (test.properties:1): expected at least "
                                           "socket.request.max.bytes=104857600 (default)"},
    /* Listeners */
    {"balsa.admin.listeners=:9292", "balsa.admin.listeners=:9292 (test.properties:1): expected host:port"},
    {"balsa.admin.listeners=h", "balsa.admin.listeners=h (test.properties:1): expected host:port"},
    {"listeners=", "listeners= (test.properties:1): expected at least one listener"},
    {"listeners=:9092", "listeners=:9092 (test.properties:1): expected NAME://host:port"},
    {"listeners=PLAINTEXT://", "listeners=PLAINTEXT:// (test.properties:1): expected NAME://host:port"},
    {"listeners=PLAINTEXT://h", "listeners=PLAINTEXT://h (test.properties:1): expected NAME://host:port"},
    {"listeners=PLAINTEXT://h:", "listeners=PLAINTEXT://h: (test.properties:1): expected NAME://host:port"},
    {"listeners=PLAINTEXT://h:65536", "listeners=PLAINTEXT://h:65536 (test.properties:1): expected NAME://host:port"},
    {"listeners=PLAINTEXT://::1:9092", "listeners=PLAINTEXT://::1:9092 (test.properties:1): expected NAME://host:port"},
    {"listeners=PLAINTEXT://a b:9092", "listeners=PLAINTEXT://a b:9092 (test.properties:1): expected NAME://host:port"},
    {"listeners=://h:1", "listeners=://h:1 (test.properties:1): expected NAME://host:port"},
    {"listeners=PLAINTEXT://:1,PLAINTEXT://:2",
     "listeners=PLAINTEXT://:2 (test.properties:1): the name was used before"},
    {"listeners=SSL://:9093",
     "listeners=SSL://:9093 (test.properties:1): security protocol SSL is not available, only PLAINTEXT is"},
    {"listeners=OUT://:9093",
     "listeners=OUT://:9093 (test.properties:1): listener.security.protocol.map does not have OUT"},
    {"listener.security.protocol.map=X",
     "listener.security.protocol.map=X (test.properties:1): expected NAME:PROTOCOL"},
    {"controller.listener.names=PEER\nlisteners=PLAINTEXT://:9092,PEER://:9093",
     "listeners=PEER (test.properties:2): brokers connect to this listener: give it a host that they can reach, "
     "here or "
     "in advertised.listeners"},
    {"controller.listener.names=PEER\nlisteners=PLAINTEXT://:9092,PEER://0.0.0.0:9093",
     "listeners=PEER (test.properties:2): brokers connect to this listener: give it a host that they can reach, "
     "here or "
     "in advertised.listeners"},
    {"controller.listener.names=A,B\nlisteners=PLAINTEXT://:9092,A://h:9093,B://h:9094",
     "listeners=B://h:9094 (test.properties:2): a second listener of controller.listener.names: brokers "
     "connect to one"},
    {"controller.listener.names=PEER\nlisteners=PEER://h:9093", "listeners= (test.properties:2): expected at least one "
                                                                "listener"},
    {"controller.listener.names=SSL\nlisteners=PLAINTEXT://:9092,SSL://h:9093",
     "listeners=SSL://h:9093 (test.properties:2): security protocol SSL is not available, only PLAINTEXT is"},
    /* Seeds */
    {"controller.quorum.bootstrap.servers=a:1",
     "controller.quorum.bootstrap.servers=a:1 (test.properties:1): a listener for brokers is needed: name one of "
     "listeners in controller.listener.names, such as PEER://host:9192"},
    {PEER "controller.quorum.bootstrap.servers=a:1,b:1",
     "controller.quorum.bootstrap.servers=a:1,b:1 (test.properties:3): expected 1, 3 or 5 addresses: these "
     "brokers vote, "
     "and an even number of voters survives no more losses than one voter less"},
    {PEER "controller.quorum.voters=a:1,b:1,c:1,d:1,e:1,f:1,g:1",
     "controller.quorum.bootstrap.servers=a:1,b:1,c:1,d:1,e:1,f:1,g:1 (test.properties:3): expected 1, 3 or 5 "
     "addresses: "
     "these brokers vote, and an even number of voters survives no more losses than one voter less"},
    {PEER "controller.quorum.bootstrap.servers=a:1,b:1,a:1",
     "controller.quorum.bootstrap.servers=a:1 (test.properties:3): the address was used before"},
    {PEER "controller.quorum.bootstrap.servers=a",
     "controller.quorum.bootstrap.servers=a (test.properties:3): expected host:port"},
    {PEER "controller.quorum.bootstrap.servers=:1",
     "controller.quorum.bootstrap.servers=:1 (test.properties:3): expected host:port"},
    {PEER "controller.quorum.bootstrap.servers=a:0",
     "controller.quorum.bootstrap.servers=a:0 (test.properties:3): expected host:port"},
    {PEER "controller.quorum.voters=x@a:1",
     "controller.quorum.bootstrap.servers=x@a:1 (test.properties:3): expected host:port"},
    {"broker.session.timeout.ms=1999",
     "broker.session.timeout.ms=1999 (test.properties:1): expected an integer from 2000 to 2147483647"},
    {"advertised.listeners=OUT://h:1",
     "advertised.listeners=OUT://h:1 (test.properties:1): listeners does not have this name"},
    {"advertised.listeners=PLAINTEXT://0.0.0.0:1",
     "advertised.listeners=PLAINTEXT://0.0.0.0:1 (test.properties:1): nobody can connect to this host"},
    {"advertised.listeners=PLAINTEXT://h:0", "advertised.listeners=PLAINTEXT://h:0 (test.properties:1): expected "
                                             "NAME://host:port with a port from 1 to 65535"},
    {"advertised.listeners=PLAINTEXT://h:1,PLAINTEXT://h:2",
     "advertised.listeners=PLAINTEXT://h:2 (test.properties:1): the name was used before"},
};

/* Goal: what cannot be meant stops the start, with key, value, place and expectation. Method: whole messages. */
START_TEST(mistake_is_named)
{
    assert_refused(refused_cases[_i].text, refused_cases[_i].message);
}
END_TEST

/* Goal: keys that promise security or another cluster's ways are never passed over. Method: Kafka's names. */
START_TEST(misleading_keys_are_refused)
{
    static const char *const names[] = {
        "zookeeper.connect",
        "controller.quorum.election.timeout.ms",
        "ssl.truststore.password",
        "sasl.jaas.config",
        "sasl.mechanism.inter.broker.protocol",
        "listener.name.x.ssl.key",
        "super.users",
        "authorizer.logger",
        "principal.builder.class",
        "metadata.log.dir",
        "delegation.token.max.lifetime.ms",
        "confluent.license",
        "remote.log.metadata.manager.class.name",
    };
    for (size_t i = 0; i < array_count(names); i++) {
        struct options options;
        struct errmsg msg = {""};
        options_init(&options);
        ck_assert_msg(options_set(&options, names[i], "x", OPTION_FLAG, "--set", &msg) == ERR_UNSUPPORTED, "%s",
                      names[i]);
        ck_assert_ptr_nonnull(strstr(msg.text, "; remove the key"));
        options_deinit(&options);
    }
    ck_assert_ptr_null(options_refusal("no.such.key"));
    ck_assert_ptr_null(options_refusal(""));
}
END_TEST

/* Goal: long or unprintable input ends in a message, nothing else. Method: texts at the limits of fields. */
START_TEST(hostile_text_is_refused)
{
    static const char *const heads[] = {"log.dirs=",
                                        "broker.rack=",
                                        "listeners=PLAINTEXT://",
                                        "node.id=",
                                        "advertised.listeners=PLAINTEXT://",
                                        "balsa.log.level=",
                                        ""};
    for (size_t i = 0; i < array_count(heads); i++) {
        char text[4096];
        struct options options;
        struct errmsg msg = {""};
        size_t size = strlen(heads[i]);
        memcpy(text, heads[i], size);
        memset(text + size, 'x', sizeof(text) - size - 1);
        text[sizeof(text) - 1] = '\0';
        ck_assert_msg(load(&options, text, &msg) != OK, "%s", heads[i]);
        ck_assert_msg(msg.text[0] != '\0', "%s", heads[i]);
        options_deinit(&options);
        text[size] = '\x01';
        text[size + 1] = '\0';
        ck_assert_msg(load(&options, text, &msg) != OK, "%s", heads[i]);
        ck_assert(strchr(msg.text, '\x01') == NULL);
        options_deinit(&options);
    }
}
END_TEST

/* ---- Sources ---- */

/* Goal: flags win over the environment, that over files, the last file over the first. Method: in the order that the
 * program loads them. */
START_TEST(later_source_wins)
{
    struct options options;
    struct errmsg msg = {""};
    enum option_source source;
    char *environment[] = {(char[]){"BALSA_NUM_PARTITIONS=3"}, (char[]){"BALSA_LOG_LEVEL=warn"}, NULL};
    options_init(&options);
    ck_assert_int_eq(
        options_load_text(&options, bytes_from_text("num.partitions=1\nlog.dirs=a\nbroker.id=1"), "f", &msg), OK);
    ck_assert_int_eq(options_load_text(&options, bytes_from_text("num.partitions=2\nlog.dirs=b"), "g", &msg), OK);
    ck_assert_str_eq(options_text(&options, "num.partitions", &source), "2");
    ck_assert_int_eq(source, OPTION_FILE);
    ck_assert_int_eq(options_load_environment(&options, environment, &msg), OK);
    ck_assert_str_eq(options_text(&options, "num.partitions", &source), "3");
    ck_assert_int_eq(source, OPTION_ENVIRONMENT);
    ck_assert_int_eq(options_set(&options, "num.partitions", "4", OPTION_FLAG, "--set", &msg), OK);
    ck_assert_int_eq(options_set(&options, "node.id", "9", OPTION_FLAG, "--set", &msg),
                     OK); /* broker.id came from a file */
    ck_assert_int_eq(options_finish(&options, &msg), OK);
    ck_assert_int_eq(options.num_partitions, 4);
    ck_assert_int_eq(options.node_id, 9);
    ck_assert_str_eq(options.log_dirs, "b");
    ck_assert_str_eq(options.log_level, "warn");
    ck_assert_str_eq(options_text(&options, "num.partitions", &source), "4");
    ck_assert_int_eq(source, OPTION_FLAG);
    options_deinit(&options);
}
END_TEST

struct variable_case {
    const char *variable;
    const char *key;     /* NULL: left alone */
    const char *message; /* not NULL: refused */
};

static const struct variable_case variable_cases[] = {
    {"BALSA_NODE_ID=5", "node.id", NULL},
    {"BALSA_BROKER_ID=5", "node.id", NULL},
    {"BALSA_SHARDS=5", "balsa.shards", NULL},
    {"BALSA_BALSA_SHARDS=5", "balsa.shards", NULL},
    {"BALSA_LOG_RETENTION_MS=5", "log.retention.ms", NULL},
    {"BALSA_HOME=/x", NULL, NULL},
    {"BALSA_PORT=9092", NULL, NULL},
    {"BALSA_PORT=tcp://10.0.0.1:9092", NULL, NULL},
    {"BALSA_SERVICE_HOST=10.0.0.1", NULL, NULL},
    {"BALSA_SERVICE_PORT_KAFKA=9092", NULL, NULL},
    {"BALSA_PORT_9092_TCP_ADDR=10.0.0.1", NULL, NULL},
    {"BALSA_HEADLESS_SERVICE_HOST=10.0.0.1", NULL, NULL},
    {"BALSA_HEADLESS_PORT=tcp://10.0.0.1:9092", NULL, NULL},
    {"KAFKA_NODE_ID=5", NULL, NULL},
    {"BALSA", NULL, NULL},
    {"BALSA_NODE_ID", NULL, NULL},
    {"BALSA_NODEID=5", NULL, "environment variable BALSA_NODEID=5: no option has this name"},
    {"BALSA_node_id=5", NULL, "environment variable BALSA_node_id=5: no option has this name"},
    {"BALSA_=5", NULL, "environment variable BALSA_=5: no option has this name"},
    {"BALSA_NODE_ID=x", NULL,
     "node.id=x (environment variable BALSA_NODE_ID): expected an integer from 0 to 2147483647"},
};

/* Goal: variables are options or named as mistakes, and those of others are left alone. */
START_TEST(environment_is_read)
{
    const struct variable_case *c = &variable_cases[_i];
    char *environment[] = {mem_strdup("PATH=/bin"), mem_strdup(c->variable), NULL};
    struct options options;
    struct errmsg msg = {""};
    size_t count;
    const struct option_key *keys = options_keys(&count);
    options_init(&options);
    enum err err = options_load_environment(&options, environment, &msg);
    ck_assert_msg((err == OK) == (c->message == NULL), "%s", msg.text);
    ck_assert_str_eq(msg.text, c->message != NULL ? c->message : "");
    for (size_t i = 0; i < count; i++) {
        enum option_source source;
        (void)options_text(&options, keys[i].name, &source);
        bool is_set = c->key != NULL && strcmp(c->key, keys[i].name) == 0;
        ck_assert_int_eq(source, is_set ? OPTION_ENVIRONMENT : OPTION_DEFAULT);
    }
    options_deinit(&options);
    mem_free(environment[0]);
    mem_free(environment[1]);
}
END_TEST

static void write_file(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

/* Goal: files are read whole, and failures name them. Method: a good one, a missing one, a directory, one too large. */
START_TEST(file_is_read)
{
    char *dir = test_dir_make();
    char path[SHOWN_MAX];
    char message[2 * SHOWN_MAX];
    struct options options;
    struct errmsg msg = {""};
    (void)snprintf(path, sizeof(path), "%s/server.properties", dir);
    options_init(&options);
    ck_assert_int_eq(options_load_file(&options, path, &msg), ERR_NOT_FOUND);
    (void)snprintf(message, sizeof(message), "%s: No such file or directory", path);
    ck_assert_str_eq(msg.text, message);
    ck_assert_int_ne(options_load_file(&options, dir, &msg), OK);
    write_file(path, "node.id=3\r\n", 11);
    ck_assert_int_eq(options_load_file(&options, path, &msg), OK);
    ck_assert_str_eq(options_text(&options, "node.id", NULL), "3");
    char *large = mem_alloc(OPTIONS_FILE_SIZE_MAX + 1);
    memset(large, '\n', OPTIONS_FILE_SIZE_MAX + 1);
    write_file(path, large, OPTIONS_FILE_SIZE_MAX);
    ck_assert_int_eq(options_load_file(&options, path, &msg), OK);
    write_file(path, large, OPTIONS_FILE_SIZE_MAX + 1);
    ck_assert_int_eq(options_load_file(&options, path, &msg), ERR_TOO_LARGE);
    mem_free(large);
    options_deinit(&options);
    test_dir_remove(dir);
}
END_TEST

/* ---- What topics inherit ---- */

struct inherit_case {
    const char *text;
    int64_t retention_ms, segment_ms;
};

static const struct inherit_case inherit_cases[] = {
    {"", 604800000, 604800000},
    {"log.retention.hours=1", 3600000, 604800000},
    {"log.retention.hours=1\nlog.retention.minutes=2", 120000, 604800000},
    {"log.retention.ms=7\nlog.retention.hours=1\nlog.retention.minutes=2", 7, 604800000},
    {"log.retention.hours=-1", -1, 604800000},
    {"log.retention.hours=2147483647", 2147483647LL * 3600000, 604800000},
    {"log.roll.hours=2", 604800000, 7200000},
    {"log.roll.ms=5\nlog.roll.hours=2", 604800000, 5},
};

/* Goal: topics inherit what the broker says, the finest unit first. */
START_TEST(topics_inherit)
{
    const struct inherit_case *c = &inherit_cases[_i];
    struct options options;
    struct errmsg msg = {""};
    struct partition_config config;
    ck_assert_msg(load(&options, c->text, &msg) == OK, "%s", msg.text);
    struct topic_config_defaults defaults = options_topic_defaults(&options);
    topic_config_partition(NULL, &defaults, &config);
    ck_assert_int_eq(config.retention_ms, c->retention_ms);
    ck_assert_int_eq(config.log.segment_ms, c->segment_ms);
    ck_assert_ptr_null(defaults.value(defaults.context, "log.segment.bytes"));
    ck_assert_ptr_null(defaults.value(defaults.context, "no.such.key"));
    options_deinit(&options);
}
END_TEST

/* Goal: the page in docs/ says what the tables say. Method: printed anew and compared. */
START_TEST(documentation_is_up_to_date)
{
    char *printed = NULL;
    size_t size = 0;
    struct dynbuf page;
    struct errmsg msg = {""};
    FILE *out = open_memstream(&printed, &size);
    ck_assert_ptr_nonnull(out);
    options_print_markdown(out);
    ck_assert_int_eq(fclose(out), 0);
    dynbuf_init(&page, MIB(1));
    ck_assert_msg(process_read_file("docs/CONFIGURATION.md", &page, &msg) == OK, "%s", msg.text);
    ck_assert_msg(bytes_equal(dynbuf_bytes(&page), (struct bytes){(const uint8_t *)printed, size}),
                  "docs/CONFIGURATION.md differs: write it anew with balsad --help=markdown");
    dynbuf_deinit(&page);
    free(printed);
}
END_TEST

static Suite *options_suite(void)
{
    Suite *suite = suite_create("options");
    TCase *table = tcase_create("table");
    tcase_add_test(table, names_are_unique);
    tcase_add_test(table, every_default_survives_a_round_trip);
    tcase_add_test(table, defaults_of_topics_are_those_of_the_broker);
    tcase_add_test(table, documentation_is_up_to_date);
    suite_add_tcase(suite, table);
    TCase *decoded = tcase_create("decoded");
    tcase_add_test(decoded, defaults_are_decoded);
    tcase_add_test(decoded, settings_are_decoded);
    tcase_add_test(decoded, admin_listeners_are_decoded);
    tcase_add_loop_test(decoded, listeners_are_decoded, 0, (int)array_count(listener_cases));
    tcase_add_test(decoded, brokers_listener_and_seeds_are_decoded);
    tcase_add_test(decoded, brokers_listener_advertises_its_host);
    tcase_add_loop_test(decoded, topics_inherit, 0, (int)array_count(inherit_cases));
    suite_add_tcase(suite, decoded);
    TCase *refused = tcase_create("refused");
    tcase_add_loop_test(refused, mistake_is_named, 0, (int)array_count(refused_cases));
    tcase_add_test(refused, misleading_keys_are_refused);
    tcase_add_test(refused, hostile_text_is_refused);
    suite_add_tcase(suite, refused);
    TCase *sources = tcase_create("sources");
    tcase_add_test(sources, later_source_wins);
    tcase_add_loop_test(sources, environment_is_read, 0, (int)array_count(variable_cases));
    tcase_add_test(sources, file_is_read);
    suite_add_tcase(suite, sources);
    return suite;
}

TEST_MAIN(options_suite)

/* Listeners: what Kafka writes, and what cannot be meant. */
#include <string.h>

#include "base/mem.h"
#include "broker/options.h"
#include "tests/lib/test.h"

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

struct refused_case {
    const char *text;
    const char *message;
};

static const struct refused_case refused_cases[] = {
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
    {"controller.listener.names=CONTROLLER\nlistener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"
     "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
     "listeners=CONTROLLER://:9093 (test.properties:3): controllers have no listener of their own: remove it here and "
     "from controller.listener.names"},
    {"advertised.listeners=OUT://h:1",
     "advertised.listeners=OUT://h:1 (test.properties:1): listeners does not have this name"},
    {"advertised.listeners=PLAINTEXT://0.0.0.0:1",
     "advertised.listeners=PLAINTEXT://0.0.0.0:1 (test.properties:1): no client can connect to this host"},
    {"advertised.listeners=PLAINTEXT://h:0", "advertised.listeners=PLAINTEXT://h:0 (test.properties:1): expected "
                                             "NAME://host:port with a port from 1 to 65535"},
    {"advertised.listeners=PLAINTEXT://h:1,PLAINTEXT://h:2",
     "advertised.listeners=PLAINTEXT://h:2 (test.properties:1): the name was used before"},
};

/* Goal: a listener that cannot be opened, or must not be, stops the start. Method: whole messages. */
START_TEST(mistake_is_named)
{
    assert_refused(refused_cases[_i].text, refused_cases[_i].message);
}
END_TEST

static Suite *listeners_suite(void)
{
    Suite *suite = suite_create("options_listeners");
    TCase *listeners = tcase_create("listeners");
    tcase_add_loop_test(listeners, listeners_are_decoded, 0, (int)array_count(listener_cases));
    tcase_add_loop_test(listeners, mistake_is_named, 0, (int)array_count(refused_cases));
    suite_add_tcase(suite, listeners);
    return suite;
}

TEST_MAIN(listeners_suite)

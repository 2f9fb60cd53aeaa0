/* Batches of idempotent producers that were refused, or are missing, so that those sent right behind them are refused
 * alike until they come.
 *
 * A producer has up to five batches on the way. If the first is refused (no leader yet, a full queue) and the second,
 * sent before that was known, meets a partition that takes batches again, it is out of order. Told so, librdkafka takes
 * a new epoch for all its partitions and sends what it has no answer for as new: batches that were appended and whose
 * acknowledgement was lost are then there twice. But nothing is wrong with the sequence: the first comes again. So
 * the second gets the first one's error, which clients repeat, until the first is back. The same where the first was
 * refused by another broker, before the leader moved, and nothing is known here but that it is missing.
 *
 * per producer id: the first batch refused or missing, of one epoch      forgotten when
 *     a batch that covers it comes, or the table of producers knows it: the producer went on, here or at another leader
 *     the producer comes with a higher epoch
 *     REFUSAL_COUNT_MAX others are newer
 * At most as many batches are refused because of it as clients have on the way: who sends more skips it knowingly.
 *
 * Not replicated: what a client has on the way is between it and this broker.
 * Pure. Source: KIP-98 (five in flight); librdkafka rd_kafka_handle_idempotent_Produce_error. */
#pragma once

#include "replication/producers.h"

struct refusals {
    struct map by_id;
    struct list by_age; /* oldest first */
};

void refusals_init(struct refusals *refusals);
void refusals_deinit(struct refusals *refusals);
/* `batch` (any; without a producer nothing happens) was refused with `error`, which clients repeat, and will not be
 * appended, or may be lost. */
void refusals_note(struct refusals *refusals, const struct record_batch *batch, enum kafka_error error);
/* The error for a batch that comes behind a refused or missing one; KAFKA_NONE: nothing speaks against it. */
enum kafka_error refusals_check(struct refusals *refusals, const struct producers *producers,
                                const struct record_batch *batch);
/* What to answer for a batch that producers_check() called out of order: NOT_ENOUGH_REPLICAS while what is missing
 * before it may still come, else OUT_OF_ORDER_SEQUENCE_NUMBER. */
enum kafka_error refusals_gap(struct refusals *refusals, const struct producers *producers,
                              const struct record_batch *batch);

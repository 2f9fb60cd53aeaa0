/* Shared by group.c (requests), group_rebalance.c (answers, states, time), group_members.c (who is in it, what they
 * have in common) and group_value.c (how it is stored). Private to them. */
#pragma once

#include "metadata/group.h"

/* group_members.c */
struct bytes group_copy(struct bytes bytes); /* owned; data NULL stays so */
void group_free(struct bytes *bytes);
struct group_member *group_find(const struct group *group, struct bytes id);
struct group_member *group_find_instance(const struct group *group, struct bytes instance_id);
/* KAFKA_NONE and the member; or UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID. */
enum kafka_error group_identify(const struct group *group, struct bytes id, struct bytes instance_id,
                                struct group_member **member);
size_t group_join_size(const struct group_join *join); /* of the member that it makes */
struct group_member *group_add(struct group *group, struct bytes id, const struct group_join *join);
void group_update(struct group *group, struct group_member *member, const struct group_join *join);
void group_rename(struct group *group, struct group_member *member, struct bytes id);
void group_assign(struct group *group, struct group_member *member, struct bytes assignment); /* a copy */
void group_remove(struct group *group, struct group_member *member); /* who does not wait */
/* Whether the protocols have one in common with all members but `except`. */
bool group_supports(const struct group *group, const struct group_join *join, const struct group_member *except);
bool group_is_unchanged(const struct group_member *member, const struct group_join *join);
/* The protocol that most members like best of those that all have; borrowed from a member. There are members. */
struct bytes group_vote(const struct group *group);
int64_t group_rebalance_us(const struct group *group); /* the longest rebalance timeout of the members */
void group_offer(struct group *group, struct bytes id, int64_t due_us); /* one more pending; maybe the oldest goes */
bool group_accept(struct group *group, struct bytes id);               /* it was pending, and is not any more */
bool group_forget_pending(struct group *group, int64_t now_us);        /* those whose time is up; whether some were */

/* group_rebalance.c */
void group_refuse(struct group_wait *wait, enum kafka_error error, struct list *answered);
/* Waits at `place`, which is the member's join or sync; one that waits there already is answered. */
void group_start_wait(struct group_wait **place, struct group_member *member, struct group_wait *wait,
                      struct list *answered);
void group_end_join(struct group_member *member, enum kafka_error error, struct list *answered); /* if it waits */
void group_end_sync(struct group_member *member, enum kafka_error error, struct list *answered);
void group_heard_of(struct group_member *member, int64_t now_us);
void group_tell_generation(const struct group *group, struct group_member *member, struct group_wait *wait,
                           int64_t now_us, struct list *answered);
void group_tell_assignment(struct group_member *member, struct group_wait *wait, int64_t now_us,
                           struct list *answered);
/* Members have come or gone: all are to join again, which may be so already. */
void group_rebalance(struct group *group, int64_t now_us, struct list *answered);
void group_try_complete(struct group *group, int64_t now_us, struct list *answered); /* the barrier, if it can open */
void group_remove_member(struct group *group, struct group_member *member, struct list *answered);

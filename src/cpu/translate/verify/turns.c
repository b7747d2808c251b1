/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify=on: who may change memory while two runs are compared. vCPUs take turns, in the order in which they asked, so
 * that no other one runs meanwhile. Devices cannot be held up: their writes are counted, and what differs is no
 * evidence when there was one.
 */
#include "cpu/translate/verify/verify.h"

#include <stdlib.h>
#include <time.h>

/* How long a turn lasts when others wait. */
#define TURN_NS (1 * NS_PER_MS)

struct verify_turns {
	struct ram *ram;
	pthread_mutex_t lock;
	pthread_cond_t next;
	unsigned asked, served; /* lock */
	struct vcpu *vcpu;      /* whose turn it is; lock, or in the turn */
	int64_t begun_ns;
	_Atomic bool wanted; /* somebody waits */
	_Atomic uintptr_t owner;
	_Atomic uint64_t foreign_writes;
};

/* ram_written, by any thread. */
static void written(void *opaque, uint64_t gpa, uint64_t length)
{
	struct verify_turns *turns = opaque;

	if (atomic_load_explicit(&turns->owner, memory_order_relaxed) != (uintptr_t)pthread_self())
		atomic_fetch_add(&turns->foreign_writes, 1);
}

struct verify_turns *verify_turns_new(struct ram *ram)
{
	struct verify_turns *turns = xcalloc(1, sizeof(*turns));

	turns->ram = ram;
	pthread_mutex_init(&turns->lock, NULL);
	pthread_cond_init(&turns->next, NULL);
	ram_set_observer(ram, written, turns);
	return turns;
}

void verify_turns_free(struct verify_turns *turns)
{
	if (!turns)
		return;
	ram_set_observer(turns->ram, NULL, NULL);
	pthread_mutex_destroy(&turns->lock);
	pthread_cond_destroy(&turns->next);
	free(turns);
}

/* Lock held. The one whose turn it is may be in code that needs no look at anything for long. */
static void wait_for_turn(struct verify_turns *turns)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += TURN_NS;
	if (until.tv_nsec >= NS_PER_S) {
		until.tv_nsec -= NS_PER_S;
		until.tv_sec++;
	}
	if (pthread_cond_timedwait(&turns->next, &turns->lock, &until) == ETIMEDOUT && turns->vcpu)
		turns->vcpu->engine->ops->kick(turns->vcpu);
}

void verify_turn_begin(struct verify_turns *turns, struct vcpu *vcpu)
{
	unsigned number;

	pthread_mutex_lock(&turns->lock);
	number = turns->asked++;
	while (number != turns->served) {
		atomic_store_explicit(&turns->wanted, true, memory_order_relaxed);
		wait_for_turn(turns);
	}
	atomic_store_explicit(&turns->wanted, turns->asked - turns->served > 1, memory_order_relaxed);
	turns->vcpu = vcpu;
	turns->begun_ns = host_now_ns();
	pthread_mutex_unlock(&turns->lock);
	atomic_store_explicit(&turns->owner, (uintptr_t)pthread_self(), memory_order_relaxed);
}

void verify_turn_end(struct verify_turns *turns)
{
	atomic_store_explicit(&turns->owner, 0, memory_order_relaxed);
	pthread_mutex_lock(&turns->lock);
	turns->vcpu = NULL;
	turns->served++;
	pthread_cond_broadcast(&turns->next);
	pthread_mutex_unlock(&turns->lock);
}

void verify_turn_yield(struct verify_turns *turns)
{
	struct vcpu *vcpu = turns->vcpu;

	if (!atomic_load_explicit(&turns->wanted, memory_order_relaxed) || host_now_ns() - turns->begun_ns < TURN_NS)
		return;
	verify_turn_end(turns);
	verify_turn_begin(turns, vcpu);
}

uint64_t verify_foreign_writes(const struct verify_turns *turns)
{
	return atomic_load(&turns->foreign_writes);
}

bool verify_disturbed(const struct verify_turns *turns, uint64_t before)
{
	/* A device says that it wrote after it did. */
	const struct timespec while_it_may_take = {.tv_nsec = 20 * NS_PER_MS};

	if (verify_foreign_writes(turns) == before)
		nanosleep(&while_it_may_take, NULL);
	return verify_foreign_writes(turns) != before;
}

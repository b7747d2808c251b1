/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU's thread is in one of three places: in the engine, asleep because the guest halted, or at the gate.
 *
 *  - Halted sleep is a futex on `wakeups`, which vcpu_raise counts up after it has set the event bit. The count is read
 *    before the engine runs, so an event that arrives while the engine decides to halt is not slept over.
 *  - The gate is crew->lock: `paused` is wanted, `parked` counts who stands at it, calls are carried out there.
 */
#include "machine/vcpu_thread.h"

#include "base/util.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct vcpu_call {
	void (*fn)(struct vcpu *vcpu, void *opaque);
	void *opaque;
	bool done;
};

struct vcpu_thread {
	struct vcpu_crew *crew;
	struct vcpu *vcpu;
	pthread_t thread;
	pid_t tid;
	_Atomic uint32_t wakeups;
	_Atomic bool asleep;
	_Atomic bool halted;     /* last exit was HLT and no event came since */
	bool parked;             /* crew->lock */
	bool stuck;              /* crew->lock: reported something; waits for resume whatever `paused` says */
	bool held;               /* crew->lock: stays where it is though the others go on */
	struct vcpu_call *call;  /* crew->lock */
};

struct vcpu_crew {
	pthread_mutex_t lock;
	pthread_cond_t to_threads, to_main;
	_Atomic bool gate; /* somebody wants threads at the gate: pause, call or quit */
	bool paused, quit;
	vcpu_report_fn *report;
	void *opaque;
	unsigned count;
	struct vcpu_thread *threads;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* vcpu.wake: any thread. */
static void thread_wake(void *opaque)
{
	struct vcpu_thread *thread = opaque;

	atomic_fetch_add(&thread->wakeups, 1);
	if (atomic_load(&thread->asleep))
		futex_wake(&thread->wakeups);
}

static void thread_sleep(struct vcpu_thread *thread, uint32_t wakeups_before_run)
{
	atomic_store(&thread->halted, true);
	atomic_store(&thread->asleep, true);
	while (atomic_load(&thread->wakeups) == wakeups_before_run)
		futex_wait(&thread->wakeups, wakeups_before_run);
	atomic_store(&thread->asleep, false);
	atomic_store(&thread->halted, false);
}

/* Carries out calls and waits while the crew is paused. Returns false when the thread is to end. */
static bool thread_gate(struct vcpu_thread *thread)
{
	struct vcpu_crew *crew = thread->crew;
	bool quit;

	pthread_mutex_lock(&crew->lock);
	for (;;) {
		if (thread->call) {
			struct vcpu_call *call = thread->call;

			thread->call = NULL;
			pthread_mutex_unlock(&crew->lock);
			call->fn(thread->vcpu, call->opaque);
			pthread_mutex_lock(&crew->lock);
			call->done = true;
			pthread_cond_broadcast(&crew->to_main);
			continue;
		}
		if (crew->quit || !(crew->paused || thread->stuck || thread->held))
			break;
		thread->parked = true;
		pthread_cond_broadcast(&crew->to_main);
		pthread_cond_wait(&crew->to_threads, &crew->lock);
	}
	thread->parked = false;
	quit = crew->quit;
	pthread_mutex_unlock(&crew->lock);
	return !quit;
}

static void thread_report(struct vcpu_thread *thread, enum vcpu_exit why, const struct error *err)
{
	struct vcpu_crew *crew = thread->crew;

	pthread_mutex_lock(&crew->lock);
	thread->stuck = true;
	atomic_store(&crew->gate, true);
	pthread_mutex_unlock(&crew->lock);
	crew->report(crew->opaque, thread->vcpu, why, err);
}

static void *thread_main(void *opaque)
{
	struct vcpu_thread *thread = opaque;
	const struct engine_ops *ops = thread->vcpu->engine->ops;

	thread->tid = gettid();
	for (;;) {
		struct error err = {0};
		uint32_t wakeups;
		enum vcpu_exit why;

		if (atomic_load(&thread->crew->gate) && !thread_gate(thread))
			return NULL;
		wakeups = atomic_load(&thread->wakeups);
		why = ops->run(thread->vcpu, &err);
		if (why == VCPU_HALTED)
			thread_sleep(thread, wakeups);
		else if (why != VCPU_KICKED)
			thread_report(thread, why, &err);
	}
}

struct vcpu_crew *vcpu_crew_start(struct vcpu **vcpus, unsigned count, vcpu_report_fn *report, void *opaque, struct error *err)
{
	struct vcpu_crew *crew = xcalloc(1, sizeof(*crew));
	sigset_t all, old;

	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->to_threads, NULL);
	pthread_cond_init(&crew->to_main, NULL);
	crew->paused = true;
	atomic_store(&crew->gate, true);
	crew->report = report;
	crew->opaque = opaque;
	crew->threads = xcalloc(count, sizeof(*crew->threads));
	/* Process signals are the main thread's; an engine unblocks what it needs for its kick. */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < count; i++) {
		struct vcpu_thread *thread = &crew->threads[i];
		char name[16];
		int code;

		thread->crew = crew;
		thread->vcpu = vcpus[i];
		vcpus[i]->wake_opaque = thread;
		vcpus[i]->wake = thread_wake;
		code = pthread_create(&thread->thread, NULL, thread_main, thread);
		if (code) {
			pthread_sigmask(SIG_SETMASK, &old, NULL);
			error_set_errno(err, code, "cannot start the thread of CPU %u", i);
			vcpu_crew_stop(crew);
			return NULL;
		}
		crew->count++;
		snprintf(name, sizeof(name), "CPU %u", i);
		pthread_setname_np(thread->thread, name);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	vcpu_crew_pause(crew);
	return crew;
}

static void crew_summon(struct vcpu_crew *crew)
{
	atomic_store(&crew->gate, true);
	for (unsigned i = 0; i < crew->count; i++)
		vcpu_raise(crew->threads[i].vcpu, VCPU_KICK);
	pthread_cond_broadcast(&crew->to_threads);
}

/* Lock held. */
static void crew_open_gate(struct vcpu_crew *crew)
{
	bool wanted = crew->paused || crew->quit;

	for (unsigned i = 0; i < crew->count; i++)
		wanted = wanted || crew->threads[i].call || crew->threads[i].stuck || crew->threads[i].held;
	atomic_store(&crew->gate, wanted);
}

void vcpu_crew_stop(struct vcpu_crew *crew)
{
	if (!crew)
		return;
	pthread_mutex_lock(&crew->lock);
	crew->quit = true;
	crew_summon(crew);
	pthread_mutex_unlock(&crew->lock);
	for (unsigned i = 0; i < crew->count; i++) {
		pthread_join(crew->threads[i].thread, NULL);
		crew->threads[i].vcpu->wake = NULL;
	}
	pthread_mutex_destroy(&crew->lock);
	free(crew->threads);
	free(crew);
}

void vcpu_crew_request_pause(struct vcpu_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->paused = true;
	crew_summon(crew);
	pthread_mutex_unlock(&crew->lock);
}

void vcpu_crew_pause(struct vcpu_crew *crew)
{
	vcpu_crew_request_pause(crew);
	pthread_mutex_lock(&crew->lock);
	for (unsigned i = 0; i < crew->count; i++)
		while (!crew->threads[i].parked)
			pthread_cond_wait(&crew->to_main, &crew->lock);
	pthread_mutex_unlock(&crew->lock);
}

void vcpu_crew_resume(struct vcpu_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->paused = false;
	for (unsigned i = 0; i < crew->count; i++) {
		crew->threads[i].stuck = false;
		crew->threads[i].parked = false;
		/* A vCPU that slept in HLT before the pause runs once more and finds out that it still halts. */
		vcpu_clear(crew->threads[i].vcpu, VCPU_KICK);
	}
	crew_open_gate(crew);
	pthread_cond_broadcast(&crew->to_threads);
	pthread_mutex_unlock(&crew->lock);
}

void vcpu_crew_hold(struct vcpu_crew *crew, unsigned index, bool held)
{
	pthread_mutex_lock(&crew->lock);
	crew->threads[index].held = held;
	pthread_mutex_unlock(&crew->lock);
}

void vcpu_crew_call(struct vcpu_crew *crew, unsigned index, void (*fn)(struct vcpu *vcpu, void *opaque), void *opaque)
{
	struct vcpu_call call = {.fn = fn, .opaque = opaque};

	pthread_mutex_lock(&crew->lock);
	crew->threads[index].call = &call;
	atomic_store(&crew->gate, true);
	vcpu_raise(crew->threads[index].vcpu, VCPU_KICK);
	pthread_cond_broadcast(&crew->to_threads);
	while (!call.done)
		pthread_cond_wait(&crew->to_main, &crew->lock);
	crew_open_gate(crew);
	pthread_mutex_unlock(&crew->lock);
}

int vcpu_crew_tid(const struct vcpu_crew *crew, unsigned index)
{
	return crew->threads[index].tid;
}

bool vcpu_crew_halted(const struct vcpu_crew *crew, unsigned index)
{
	return atomic_load(&crew->threads[index].halted);
}

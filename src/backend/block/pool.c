/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads for blocking work. A thread is started when a job finds nobody idle, up to a limit, and ends after some
 * seconds without work, so that a machine that uses io_uring holds none.
 */
#include "backend/block/internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define IDLE_SECONDS 10

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	struct pool_job *first, **last;
	unsigned queued, idle, threads, max_threads;
	bool stopping;
};

struct pool *pool_new(unsigned max_threads)
{
	struct pool *pool = xcalloc(1, sizeof(*pool));
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, &attributes);
	pthread_cond_init(&pool->ended, NULL);
	pthread_condattr_destroy(&attributes);
	pool->last = &pool->first;
	pool->max_threads = max_threads;
	return pool;
}

/* Waits for a job; NULL when this thread should end. Under the lock. */
static struct pool_job *next_job(struct pool *pool)
{
	struct timespec deadline;
	struct pool_job *job;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += IDLE_SECONDS;
	while (!pool->first) {
		int result;

		if (pool->stopping)
			return NULL;
		pool->idle++;
		result = pthread_cond_timedwait(&pool->work, &pool->lock, &deadline);
		pool->idle--;
		if (result == ETIMEDOUT && !pool->first)
			return NULL;
	}
	job = pool->first;
	pool->first = job->next;
	if (!pool->first)
		pool->last = &pool->first;
	pool->queued--;
	return job;
}

static void *worker(void *opaque)
{
	struct pool *pool = opaque;
	struct pool_job *job;

	pthread_setname_np(pthread_self(), "block worker");
	pthread_mutex_lock(&pool->lock);
	while ((job = next_job(pool))) {
		pthread_mutex_unlock(&pool->lock);
		job->run(job);
		pthread_mutex_lock(&pool->lock);
	}
	pool->threads--;
	pthread_cond_signal(&pool->ended);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Signals stay with the threads that expect them. Under the lock. */
static void start_thread(struct pool *pool)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 256 * KIB);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (pthread_create(&thread, &attributes, worker, pool) == 0)
		pool->threads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}

void pool_submit(struct pool *pool, struct pool_job *job)
{
	bool here = false;

	pthread_mutex_lock(&pool->lock);
	if (pool->queued + 1 > pool->idle && pool->threads < pool->max_threads)
		start_thread(pool);
	here = pool->threads == 0; /* no thread could be had: do it the slow way rather than never */
	if (!here) {
		job->next = NULL;
		*pool->last = job;
		pool->last = &job->next;
		pool->queued++;
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);
	if (here)
		job->run(job);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	while (pool->threads)
		pthread_cond_wait(&pool->ended, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->ended);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

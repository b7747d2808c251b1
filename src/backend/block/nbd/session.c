/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Input, output and memory of a session; see session.h. */
#include "backend/block/nbd/session.h"

#include <stdlib.h>

struct nbd_session *nbd_session_new(const struct nbd_server_config *config, struct loop *loop)
{
	struct nbd_session *s = xcalloc(1, sizeof(*s));

	s->config = config;
	s->loop = loop;
	s->input = xcalloc(1, NBD_INPUT_BYTES);
	s->output.last = &s->output.first;
	nbd_greet(s);
	return s;
}

static void free_jobs(struct nbd_job *job)
{
	while (job) {
		struct nbd_job *next = job->next;

		free(job->data);
		free(job);
		job = next;
	}
}

void nbd_session_free(struct nbd_session *s)
{
	block_queue_free(s->queue);
	free_jobs(s->output.first);
	free_jobs(s->resting);
	free_jobs(s->writing);
	free(s->input);
	free(s);
}

/* --- jobs --- */

/* A resting job whose buffer is large enough, else any. */
static struct nbd_job *take_resting(struct nbd_session *s, size_t bytes)
{
	struct nbd_job **link = &s->resting, *job;

	for (struct nbd_job **l = link; *l; l = &(*l)->next) {
		if ((*l)->capacity >= bytes) {
			link = l;
			break;
		}
	}
	job = *link;
	if (job) {
		*link = job->next;
		s->rest_bytes -= job->capacity;
	}
	return job;
}

static bool give_buffer(struct nbd_job *job, size_t bytes)
{
	void *data = NULL;

	if (job->capacity >= bytes)
		return true;
	free(job->data);
	job->data = NULL;
	job->capacity = 0;
	/* Aligned for direct I/O. */
	if (posix_memalign(&data, 4096, align_up(bytes, 4096)))
		return false;
	job->data = data;
	job->capacity = align_up(bytes, 4096);
	return true;
}

struct nbd_job *nbd_job_new(struct nbd_session *s, size_t bytes)
{
	struct nbd_job *job = take_resting(s, bytes);
	uint8_t *data;
	size_t capacity;

	if (!job)
		job = xcalloc(1, sizeof(*job));
	if (!give_buffer(job, bytes)) {
		free(job);
		return NULL;
	}
	data = job->data;
	capacity = job->capacity;
	*job = (struct nbd_job){.session = s, .data = data, .capacity = capacity};
	s->jobs++;
	s->data_bytes += capacity;
	return job;
}

void nbd_job_rest(struct nbd_job *job)
{
	struct nbd_session *s = job->session;

	s->jobs--;
	s->data_bytes -= job->capacity;
	if (s->rest_bytes + job->capacity > NBD_CACHED_BYTES) {
		free(job->data);
		free(job);
		return;
	}
	s->rest_bytes += job->capacity;
	job->next = s->resting;
	s->resting = job;
}

/* --- output --- */

void nbd_job_send(struct nbd_job *job)
{
	struct nbd_session *s = job->session;

	job->next = NULL;
	*s->output.last = job;
	s->output.last = &job->next;
}

int nbd_session_output(struct nbd_session *s, struct iovec *iov, int max)
{
	int count = 0;

	for (struct nbd_job *job = s->output.first; job && count + 2 <= max; job = job->next) {
		const size_t head = min_u64(job->sent, job->head_length), data = job->sent - head;

		if (head < job->head_length)
			iov[count++] = (struct iovec){job->head + head, job->head_length - head};
		if (data < job->data_length)
			iov[count++] = (struct iovec){job->data + data, job->data_length - data};
	}
	return count;
}

void nbd_session_sent(struct nbd_session *s, size_t bytes)
{
	while (s->output.first) {
		struct nbd_job *job = s->output.first;
		const size_t part = min_u64(bytes, job->head_length + job->data_length - job->sent);

		job->sent += part;
		bytes -= part;
		if (job->sent < job->head_length + job->data_length)
			return;
		s->output.first = job->next;
		if (!s->output.first)
			s->output.last = &s->output.first;
		nbd_job_rest(job);
	}
}

/* --- input --- */

static bool has_room(const struct nbd_session *s)
{
	/* One request must always be possible, also the largest. */
	return s->jobs == 0 || (s->jobs < NBD_MAX_JOBS && s->data_bytes + NBD_REQUEST_BYTES <= NBD_DATA_BYTES);
}

size_t nbd_session_room(struct nbd_session *s, void **to)
{
	if (s->phase == NBD_PHASE_ENDED)
		return 0;
	if (s->writing) {
		*to = s->writing->data + s->writing_have;
		return s->writing->length - s->writing_have;
	}
	if (!has_room(s))
		return 0;
	*to = s->input + s->input_end;
	return NBD_INPUT_BYTES - s->input_end;
}

/* Moves what was read ahead into the write that it belongs to. */
static void feed_writing(struct nbd_session *s)
{
	const size_t part = min_u64(s->input_end - s->input_start, s->writing->length - s->writing_have);

	memcpy(s->writing->data + s->writing_have, s->input + s->input_start, part);
	s->writing_have += part;
	s->input_start += part;
}

/* One step with what is there; false: more input, or room, is needed. */
static bool step(struct nbd_session *s)
{
	const size_t there = s->input_end - s->input_start;
	size_t used;

	if (s->writing) {
		feed_writing(s);
		if (s->writing_have < s->writing->length)
			return false;
		nbd_transmission_written(s);
		return true;
	}
	if (!there || !has_room(s))
		return false;
	if (s->phase == NBD_PHASE_TRANSMISSION)
		used = nbd_transmission_input(s, s->input + s->input_start, there);
	else
		used = nbd_handshake_input(s, s->input + s->input_start, there);
	s->input_start += used;
	return used > 0;
}

void nbd_session_received(struct nbd_session *s, size_t bytes)
{
	if (s->phase == NBD_PHASE_ENDED)
		return;
	if (s->writing)
		s->writing_have += bytes;
	else
		s->input_end += bytes;
	while (s->phase != NBD_PHASE_ENDED && step(s))
		;
	/* What is left begins at the front, so that there is always room for the rest of it. */
	memmove(s->input, s->input + s->input_start, s->input_end - s->input_start);
	s->input_end -= s->input_start;
	s->input_start = 0;
}

void nbd_session_hang_up(struct nbd_session *s)
{
	s->phase = NBD_PHASE_ENDED;
	while (s->output.first) {
		struct nbd_job *job = s->output.first;

		s->output.first = job->next;
		nbd_job_rest(job);
	}
	s->output.last = &s->output.first;
}

bool nbd_session_is_over(const struct nbd_session *s)
{
	return s->phase == NBD_PHASE_ENDED && !s->at_work && !s->output.first;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's half of one NBD connection, without its socket: bytes of the client in, bytes for it out. All in the
 * thread of its loop.
 *
 * Input is read to where nbd_session_room says and announced by nbd_session_received. Output lies in a queue of
 * replies; what nbd_session_output shows is announced as sent by nbd_session_sent. Memory is bounded: without room for
 * another request there is no room for input.
 */
#ifndef XUNI_BACKEND_BLOCK_NBD_SESSION_H
#define XUNI_BACKEND_BLOCK_NBD_SESSION_H

#include "backend/block/internal.h"
#include "backend/block/nbd/protocol.h"
#include "backend/block/nbd/server.h"

#define NBD_INPUT_BYTES  (64u * 1024) /* the longest option, and requests read ahead */
#define NBD_MAX_JOBS     64u
#define NBD_DATA_BYTES   (64u * 1024 * 1024) /* in requests at work and in replies */
#define NBD_CACHED_BYTES (4u * 1024 * 1024)  /* in the buffers of jobs that rest */

enum nbd_phase {
	NBD_PHASE_FLAGS,  /* the client's flags are awaited */
	NBD_PHASE_OPTION, /* an option */
	NBD_PHASE_TRANSMISSION,
	NBD_PHASE_ENDED, /* nothing more is read */
};

enum { NBD_META_BASE = 1, NBD_META_DEPTH = 2 };

/* A request with its reply, or a message of the handshake. */
struct nbd_job {
	struct nbd_job *next;
	struct nbd_session *session;
	struct block_request request;
	struct iovec iov;
	struct pool_job pool_job;
	uint64_t cookie, offset;
	uint32_t length;
	uint16_t command, flags;
	int result;
	uint8_t *data;
	size_t capacity; /* of data */
	/* What goes out: head_length bytes of head, then data_length of data; sent of them are gone. */
	uint8_t head[48];
	size_t head_length, data_length, sent;
};

struct nbd_job_list {
	struct nbd_job *first, **last;
};

struct nbd_session {
	const struct nbd_server_config *config;
	struct loop *loop;
	enum nbd_phase phase;
	bool fixed, no_zeroes, structured;
	unsigned contexts; /* NBD_META_... that the client chose, and for which export */
	const struct nbd_export *contexts_of;

	const struct nbd_export *export; /* of the transmission */
	struct block_queue *queue;

	uint8_t *input;
	size_t input_start, input_end;
	uint64_t skip;           /* bytes of an option that is too long */
	uint32_t skipped_option; /* which one */
	struct nbd_job *writing; /* the write whose data is read */
	size_t writing_have;

	unsigned at_work;  /* jobs between request and reply */
	unsigned jobs;     /* all but those that rest */
	size_t data_bytes; /* in their buffers */
	size_t rest_bytes; /* in those of resting ones */
	struct nbd_job_list output;
	struct nbd_job *resting;
};

/* Greets at once. */
struct nbd_session *nbd_session_new(const struct nbd_server_config *config, struct loop *loop);
/* With nothing at work. */
void nbd_session_free(struct nbd_session *session);

/* Where to put input, and how much of it; 0: not now, or the session has ended. */
size_t nbd_session_room(struct nbd_session *session, void **to);
void nbd_session_received(struct nbd_session *session, size_t bytes);
/* Nothing more comes or can be sent. Requests at work still end. */
void nbd_session_hang_up(struct nbd_session *session);

/* Up to max vectors of what is to be sent; 0: nothing. */
int nbd_session_output(struct nbd_session *session, struct iovec *iov, int max);
void nbd_session_sent(struct nbd_session *session, size_t bytes);
/* True when it may be freed: ended, nothing at work, nothing to send. */
bool nbd_session_is_over(const struct nbd_session *session);

/* --- session.c, for the two halves below --- */
/* A job whose data has room for `bytes`; NULL: no memory. */
struct nbd_job *nbd_job_new(struct nbd_session *session, size_t bytes);
void nbd_job_rest(struct nbd_job *job);
void nbd_job_send(struct nbd_job *job);

/* --- handshake.c --- */
void nbd_greet(struct nbd_session *session);
/* Looks at [input, input + bytes); returns how much of it is dealt with, 0: more is needed. */
size_t nbd_handshake_input(struct nbd_session *session, const uint8_t *input, size_t bytes);
/* The transmission flags of an export. */
uint16_t nbd_export_flags(const struct nbd_session *session, const struct nbd_export *export);

/* --- transmission.c --- */
/* Opens the queue of the chosen export. */
int nbd_transmission_start(struct nbd_session *session, const struct nbd_export *export);
size_t nbd_transmission_input(struct nbd_session *session, const uint8_t *input, size_t bytes);
/* The data of session->writing is complete. */
void nbd_transmission_written(struct nbd_session *session);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fixed newstyle negotiation (doc/proto.md, "Newstyle negotiation" and "Option types"), with structured replies and
 * metadata contexts. Left out: STARTTLS (answered with "policy"), extended headers, and the oldstyle negotiation.
 */
#include "backend/block/nbd/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define OPTION_HEADER_BYTES 16u

static const char *const context_names[] = {"base:allocation", "qemu:allocation-depth"};

/* --- sending --- */

static void send_bytes(struct nbd_session *s, const void *data, size_t bytes)
{
	struct nbd_job *job = nbd_job_new(s, bytes);

	if (!job) {
		s->phase = NBD_PHASE_ENDED;
		return;
	}
	memcpy(job->data, data, bytes);
	job->data_length = bytes;
	nbd_job_send(job);
}

void nbd_greet(struct nbd_session *s)
{
	uint8_t hello[18];

	nbd_put16(nbd_put64(nbd_put64(hello, NBD_GREETING_MAGIC), NBD_OPTION_MAGIC),
		  NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	send_bytes(s, hello, sizeof(hello));
}

static void reply(struct nbd_session *s, uint32_t option, uint32_t type, const void *data, size_t bytes)
{
	struct nbd_job *job = nbd_job_new(s, bytes);

	if (!job) {
		s->phase = NBD_PHASE_ENDED;
		return;
	}
	nbd_put32(nbd_put32(nbd_put32(nbd_put64(job->head, NBD_OPTION_REPLY), option), type), (uint32_t)bytes);
	job->head_length = 20;
	if (bytes)
		memcpy(job->data, data, bytes);
	job->data_length = bytes;
	nbd_job_send(job);
}

static void reply_ack(struct nbd_session *s, uint32_t option)
{
	reply(s, option, NBD_REP_ACK, NULL, 0);
}

static __attribute__((format(printf, 4, 5))) void reply_error(struct nbd_session *s, uint32_t option, uint32_t type,
							      const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	reply(s, option, type, text, strlen(text));
}

/* --- what an option carries --- */

struct reader {
	const uint8_t *at;
	size_t left;
	bool failed;
};

static uint16_t read16(struct reader *r)
{
	uint16_t value;

	if (r->left < 2) {
		r->failed = true;
		return 0;
	}
	value = nbd_get16(r->at);
	r->at += 2;
	r->left -= 2;
	return value;
}

static uint32_t read32(struct reader *r)
{
	uint32_t value;

	if (r->left < 4) {
		r->failed = true;
		return 0;
	}
	value = nbd_get32(r->at);
	r->at += 4;
	r->left -= 4;
	return value;
}

/* The next bytes as a text that ends with NUL; "" when they are not there. Text has room for the longest string. */
static void read_text(struct reader *r, uint32_t length, char text[NBD_STRING_BYTES + 1])
{
	text[0] = 0;
	if (length > r->left || length > NBD_STRING_BYTES || memchr(r->at, 0, length)) {
		r->failed = true;
		return;
	}
	memcpy(text, r->at, length);
	text[length] = 0;
	r->at += length;
	r->left -= length;
}

static const struct nbd_export *find_export(const struct nbd_session *s, const char *name)
{
	for (unsigned i = 0; i < s->config->export_count; i++)
		if (!strcmp(s->config->exports[i].name, name))
			return &s->config->exports[i];
	return NULL;
}

/* --- exports --- */

uint16_t nbd_export_flags(const struct nbd_session *s, const struct nbd_export *export)
{
	uint16_t flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_CACHE;

	if (export->read_only)
		flags |= NBD_READ_ONLY;
	else
		flags |= NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES | NBD_SEND_FAST_ZERO;
	/* A flush of one connection covers the writes of all: they share the node. */
	if (s->config->max_connections != 1)
		flags |= NBD_CAN_MULTI_CONN;
	return s->structured ? flags | NBD_SEND_DF : flags;
}

static void go(struct nbd_session *s, const struct nbd_export *export)
{
	if (s->contexts_of != export)
		s->contexts = 0;
	if (nbd_transmission_start(s, export) < 0)
		s->phase = NBD_PHASE_ENDED;
}

/* The only way of a client that knows no other: there is no reply but the export itself. */
static void opt_export_name(struct nbd_session *s, const uint8_t *data, size_t length)
{
	struct reader r = {data, length, false};
	char name[NBD_STRING_BYTES + 1];
	uint8_t answer[8 + 2 + 124] = {0};
	const struct nbd_export *export;

	read_text(&r, (uint32_t)length, name);
	export = r.failed ? NULL : find_export(s, name);
	if (!export) {
		s->phase = NBD_PHASE_ENDED;
		return;
	}
	nbd_put16(nbd_put64(answer, export->block->length), nbd_export_flags(s, export));
	send_bytes(s, answer, s->no_zeroes ? 10 : sizeof(answer));
	go(s, export);
}

static void opt_list(struct nbd_session *s, size_t length)
{
	if (length) {
		reply_error(s, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "the list option carries no data");
		return;
	}
	for (unsigned i = 0; i < s->config->export_count; i++) {
		const struct nbd_export *export = &s->config->exports[i];
		const char *description = export->description ? export->description : "";
		char *text = xasprintf("....%s%s", export->name, description);

		nbd_put32((uint8_t *)text, (uint32_t)strlen(export->name));
		reply(s, NBD_OPT_LIST, NBD_REP_SERVER, text, 4 + strlen(export->name) + strlen(description));
		free(text);
	}
	reply_ack(s, NBD_OPT_LIST);
}

static void send_text_info(struct nbd_session *s, uint32_t option, uint16_t info, const char *text)
{
	char *data = xasprintf("..%s", text);

	nbd_put16((uint8_t *)data, info);
	reply(s, option, NBD_REP_INFO, data, 2 + strlen(text));
	free(data);
}

/* Clients that do not ask for block sizes need not keep to them: then any byte may be addressed. */
static void send_sizes(struct nbd_session *s, uint32_t option, const struct block *block, bool asked)
{
	const uint32_t alignment = block->request_alignment ? block->request_alignment : 1;
	uint8_t data[14];

	nbd_put16(data, NBD_INFO_BLOCK_SIZE);
	nbd_put32(data + 2, asked || option == NBD_OPT_INFO ? alignment : 1);
	nbd_put32(data + 6, (uint32_t)max_u64(4096, alignment));
	nbd_put32(data + 10, NBD_REQUEST_BYTES);
	reply(s, option, NBD_REP_INFO, data, sizeof(data));
}

static void opt_info_or_go(struct nbd_session *s, uint32_t option, const uint8_t *data, size_t length)
{
	struct reader r = {data, length, false};
	char name[NBD_STRING_BYTES + 1];
	bool want_name = false, want_description = false, want_sizes = false;
	const struct nbd_export *export;
	uint8_t answer[12];

	read_text(&r, read32(&r), name);
	for (unsigned count = read16(&r); count && !r.failed; count--) {
		const uint16_t info = read16(&r);

		want_name |= info == NBD_INFO_NAME;
		want_description |= info == NBD_INFO_DESCRIPTION;
		want_sizes |= info == NBD_INFO_BLOCK_SIZE;
	}
	if (r.failed || r.left) {
		reply_error(s, option, NBD_REP_ERR_INVALID, "malformed request");
		return;
	}
	export = find_export(s, name);
	if (!export) {
		reply_error(s, option, NBD_REP_ERR_UNKNOWN, "export '%.64s' not present", name);
		return;
	}
	if (want_name)
		send_text_info(s, option, NBD_INFO_NAME, export->name);
	if (want_description && export->description)
		send_text_info(s, option, NBD_INFO_DESCRIPTION, export->description);
	send_sizes(s, option, export->block, want_sizes);
	nbd_put16(nbd_put64(nbd_put16(answer, NBD_INFO_EXPORT), export->block->length), nbd_export_flags(s, export));
	reply(s, option, NBD_REP_INFO, answer, sizeof(answer));
	reply_ack(s, option);
	if (option == NBD_OPT_GO)
		go(s, export);
}

/* --- metadata contexts --- */

/* Which contexts of `offered` a query means; a name space alone ("base:") means all of it where they are listed. */
static unsigned match_context(const char *query, unsigned offered, bool listing)
{
	unsigned found = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(context_names); i++) {
		const size_t space = strcspn(context_names[i], ":") + 1;

		if (!(offered & 1u << i))
			continue;
		if (!strcmp(query, context_names[i]) ||
		    (listing && strlen(query) == space && !strncmp(query, context_names[i], space)))
			found |= 1u << i;
	}
	return found;
}

static void send_contexts(struct nbd_session *s, uint32_t option, unsigned contexts)
{
	for (unsigned i = 0; i < ARRAY_SIZE(context_names); i++) {
		uint8_t data[4 + 64];
		const size_t length = strlen(context_names[i]);

		if (!(contexts & 1u << i))
			continue;
		/* What is listed has no number yet. */
		nbd_put32(data, option == NBD_OPT_SET_META_CONTEXT ? i : 0);
		memcpy(data + 4, context_names[i], length);
		reply(s, option, NBD_REP_META_CONTEXT, data, 4 + length);
	}
	reply_ack(s, option);
}

static void opt_contexts(struct nbd_session *s, uint32_t option, const uint8_t *data, size_t length)
{
	const bool listing = option == NBD_OPT_LIST_META_CONTEXT;
	struct reader r = {data, length, false};
	char text[NBD_STRING_BYTES + 1];
	const struct nbd_export *export;
	unsigned offered = NBD_META_BASE, found = 0, queries;

	if (!s->structured) {
		reply_error(s, option, NBD_REP_ERR_INVALID, "metadata contexts need structured replies");
		return;
	}
	if (!listing)
		s->contexts = 0;
	read_text(&r, read32(&r), text);
	export = r.failed ? NULL : find_export(s, text);
	if (!r.failed && !export) {
		reply_error(s, option, NBD_REP_ERR_UNKNOWN, "export '%.64s' not present", text);
		return;
	}
	if (export && export->allocation_depth)
		offered |= NBD_META_DEPTH;
	queries = read32(&r);
	if (listing && !queries)
		found = offered;
	for (; queries && !r.failed; queries--) {
		read_text(&r, read32(&r), text);
		found |= match_context(text, offered, listing);
	}
	if (r.failed || r.left) {
		reply_error(s, option, NBD_REP_ERR_INVALID, "malformed request");
		return;
	}
	if (!listing) {
		s->contexts = found;
		s->contexts_of = export;
	}
	send_contexts(s, option, found);
}

/* --- the sequence --- */

static void opt_structured_reply(struct nbd_session *s, size_t length)
{
	if (length) {
		reply_error(s, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, "the option carries no data");
		return;
	}
	s->structured = true;
	reply_ack(s, NBD_OPT_STRUCTURED_REPLY);
}

static void handle_option(struct nbd_session *s, uint32_t option, const uint8_t *data, size_t length)
{
	/* A client that is not "fixed" can only name an export: it would not understand a reply. */
	if (!s->fixed && option != NBD_OPT_EXPORT_NAME) {
		s->phase = NBD_PHASE_ENDED;
		return;
	}
	switch (option) {
	case NBD_OPT_EXPORT_NAME:
		opt_export_name(s, data, length);
		break;
	case NBD_OPT_ABORT:
		reply_ack(s, option);
		s->phase = NBD_PHASE_ENDED;
		break;
	case NBD_OPT_LIST:
		opt_list(s, length);
		break;
	case NBD_OPT_STARTTLS:
		reply_error(s, option, NBD_REP_ERR_POLICY, "TLS not configured");
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		opt_info_or_go(s, option, data, length);
		break;
	case NBD_OPT_STRUCTURED_REPLY:
		opt_structured_reply(s, length);
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		opt_contexts(s, option, data, length);
		break;
	default:
		reply_error(s, option, NBD_REP_ERR_UNSUP, "Unsupported option %u", option);
		break;
	}
}

static size_t input_flags(struct nbd_session *s, const uint8_t *input, size_t bytes)
{
	uint32_t flags;

	if (bytes < 4)
		return 0;
	flags = nbd_get32(input);
	s->fixed = flags & NBD_FIXED_NEWSTYLE;
	s->no_zeroes = flags & NBD_NO_ZEROES;
	s->phase = flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES) ? NBD_PHASE_ENDED : NBD_PHASE_OPTION;
	return 4;
}

static size_t input_skipped(struct nbd_session *s, size_t bytes)
{
	const size_t part = min_u64(bytes, s->skip);

	s->skip -= part;
	if (!s->skip)
		reply_error(s, s->skipped_option, NBD_REP_ERR_TOO_BIG, "option is too long");
	return part;
}

size_t nbd_handshake_input(struct nbd_session *s, const uint8_t *input, size_t bytes)
{
	uint32_t option, length;

	if (s->phase == NBD_PHASE_FLAGS)
		return input_flags(s, input, bytes);
	if (s->skip)
		return input_skipped(s, bytes);
	if (bytes < OPTION_HEADER_BYTES)
		return 0;
	option = nbd_get32(input + 8);
	length = nbd_get32(input + 12);
	if (nbd_get64(input) != NBD_OPTION_MAGIC || length > NBD_REQUEST_BYTES) {
		s->phase = NBD_PHASE_ENDED;
		return bytes;
	}
	if (length > NBD_INPUT_BYTES - OPTION_HEADER_BYTES) {
		s->skip = length;
		s->skipped_option = option;
		return OPTION_HEADER_BYTES;
	}
	if (bytes - OPTION_HEADER_BYTES < length)
		return 0;
	handle_option(s, option, input + OPTION_HEADER_BYTES, length);
	return OPTION_HEADER_BYTES + length;
}

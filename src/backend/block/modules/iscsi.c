/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol "iscsi": a logical unit of an iSCSI target as a disk, by iscsi://[USER[%PASSWORD]@]HOST[:PORT]/TARGET/LUN or
 * qemu's options. Left out: the unit as a SCSI device of the guest (pass-through), iSER, CD drives and tapes, units
 * without the 16-byte commands.
 */
#include "backend/block/internal.h"
#include "backend/block/module.h"
#include "backend/block/modules/iscsi_session.h"
#include "backend/block/modules/whole_blocks.h"

#include <stdlib.h>

#define DEFAULT_DELAY_S   60
#define DEFAULT_INITIATOR "iqn.2008-11.org.linux-kvm" /* qemu's, which targets may know */

struct iscsi {
	struct iscsi_session *session;
	struct iscsi_unit unit;
	struct whole_blocks blocks;
	uint8_t *zeroes; /* one block */
	_Atomic bool no_same, no_unmap, no_status;
};

/* --- transfers --- */

static int transfer(struct iscsi *iscsi, enum iscsi_op op, uint64_t offset, const struct iovec *iov, int iov_count,
		    uint64_t length, bool fua)
{
	const uint64_t most = (uint64_t)iscsi->unit.max_transfer_blocks * iscsi->unit.block_bytes;
	struct iovec *window = length > most ? calloc((size_t)iov_count, sizeof(*window)) : NULL;
	int result = length > most && !window ? -ENOMEM : 0;

	for (uint64_t done = 0; done < length && !result;) {
		struct iscsi_command command = {.op = op, .iov = iov, .iov_count = iov_count, .fua = fua};
		uint64_t part = length;

		if (window) {
			part = min_u64(length - done, most);
			command.iov = window;
			command.iov_count = iov_window(window, iov_count, iov, iov_count, done, part, &part);
		}
		command.lba = (offset + done) / iscsi->unit.block_bytes;
		command.blocks = (uint32_t)(part / iscsi->unit.block_bytes);
		result = iscsi_session_run(iscsi->session, &command);
		done += part;
	}
	free(window);
	return result;
}

static uint64_t unit_bytes(const struct iscsi *iscsi)
{
	return iscsi->unit.blocks * iscsi->unit.block_bytes;
}

/* Behind the end of the unit a format's file reads as zeroes, and is full. */
static int read_blocks(void *opaque, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct iscsi *iscsi = opaque;
	const uint64_t end = unit_bytes(iscsi), there = offset < end ? min_u64(length, end - offset) : 0;
	struct iovec flat;
	int result;

	if (there == length)
		return transfer(iscsi, ISCSI_OP_READ, offset, iov, iov_count, length, false);
	iov_clear(iov, iov_count, there, length - there);
	if (!there)
		return 0;
	flat = (struct iovec){malloc(there), there};
	if (!flat.iov_base)
		return -ENOMEM;
	result = transfer(iscsi, ISCSI_OP_READ, offset, &flat, 1, there, false);
	if (!result)
		iov_spread(iov, iov_count, 0, flat.iov_base, there);
	free(flat.iov_base);
	return result;
}

static int write_blocks(void *opaque, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
			uint32_t flags)
{
	if (!range_inside(offset, length, unit_bytes(opaque)))
		return -ENOSPC;
	return transfer(opaque, ISCSI_OP_WRITE, offset, iov, iov_count, length, flags & BLOCK_FUA);
}

static int iscsi_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct iscsi *iscsi = block->private_data;

	return whole_blocks_read(&iscsi->blocks, offset, iov, iov_count, length);
}

static int iscsi_flush(struct block *block)
{
	struct iscsi *iscsi = block->private_data;
	struct iscsi_command command = {.op = ISCSI_OP_FLUSH};
	int result = iscsi_session_run(iscsi->session, &command);

	return result == -ENOTSUP ? 0 : result; /* a unit without a cache need not know the command */
}

static int iscsi_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
			uint32_t flags)
{
	struct iscsi *iscsi = block->private_data;
	const bool fua = flags & BLOCK_FUA && iscsi->unit.fua;
	int result = whole_blocks_write(&iscsi->blocks, offset, iov, iov_count, length, fua ? BLOCK_FUA : 0);

	return !result && flags & BLOCK_FUA && !fua ? iscsi_flush(block) : result;
}

/* --- ranges without data --- */

/* A command on whole blocks, in pieces of at most `most` of them. */
static int run_range(struct iscsi *iscsi, struct iscsi_command *command, uint64_t offset, uint64_t length,
		     uint64_t most)
{
	uint64_t lba = offset / iscsi->unit.block_bytes, left = length / iscsi->unit.block_bytes;

	while (left) {
		int result;

		command->lba = lba;
		command->blocks = (uint32_t)min_u64(left, most);
		result = iscsi_session_run(iscsi->session, command);
		if (result)
			return result;
		lba += command->blocks;
		left -= command->blocks;
	}
	return 0;
}

static int iscsi_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct iscsi *iscsi = block->private_data;
	struct iscsi_command command = {.op = ISCSI_OP_UNMAP};
	const uint64_t start = align_up(offset, iscsi->unit.block_bytes),
		       end = align_down(offset + length, iscsi->unit.block_bytes);
	int result;

	if (!iscsi->unit.can_unmap || iscsi->no_unmap)
		return -ENOTSUP;
	result = start < end ? run_range(iscsi, &command, start, end - start, iscsi->unit.max_unmap_blocks) : 0;
	if (result == -ENOTSUP)
		iscsi->no_unmap = true;
	return result;
}

static int iscsi_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct iscsi *iscsi = block->private_data;
	const struct iovec zeroes = {iscsi->zeroes, iscsi->unit.block_bytes};
	struct iscsi_command command = {.op = ISCSI_OP_SAME,
					.iov = &zeroes,
					.iov_count = 1,
					.unmap = flags & BLOCK_MAY_UNMAP && iscsi->unit.can_unmap_zeroes};
	int result;

	if (!range_inside(offset, length, unit_bytes(iscsi)))
		return -ENOSPC;
	if (iscsi->no_same || !whole_blocks_fit(&iscsi->blocks, offset, length))
		return -ENOTSUP;
	result = run_range(iscsi, &command, offset, length, iscsi->unit.max_same_blocks);
	if (result == -ENOTSUP)
		iscsi->no_same = true;
	return !result && flags & BLOCK_FUA ? iscsi_flush(block) : result;
}

static int iscsi_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct iscsi *iscsi = block->private_data;
	const int data = BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
	struct iscsi_command command = {.op = ISCSI_OP_STATUS, .lba = offset / iscsi->unit.block_bytes};
	uint64_t run;
	int result;

	*child_offset = offset;
	if (!iscsi->unit.can_unmap || iscsi->no_status)
		return data;
	result = iscsi_session_run(iscsi->session, &command);
	if (result == -ENOTSUP) {
		iscsi->no_status = true;
		return data;
	}
	if (result)
		return result;
	run = (uint64_t)command.run_blocks * iscsi->unit.block_bytes - offset % iscsi->unit.block_bytes;
	*length = min_u64(*length, run);
	if (command.mapped)
		return data;
	return (iscsi->unit.reads_zeroes ? BLOCK_EXTENT_ZERO : BLOCK_EXTENT_DATA) | BLOCK_EXTENT_OFFSET_VALID;
}

/* --- opening --- */

static int take_digest(struct options *options, enum iscsi_header_digest *digest, struct error *err)
{
	static const struct {
		const char *name;
		enum iscsi_header_digest digest;
	} known[] = {
		{"crc32c", ISCSI_HEADER_DIGEST_CRC32C},
		{"none", ISCSI_HEADER_DIGEST_NONE},
		{"crc32c-none", ISCSI_HEADER_DIGEST_CRC32C_NONE},
		{"none-crc32c", ISCSI_HEADER_DIGEST_NONE_CRC32C},
	};
	const char *text = options_get(options, "header-digest");

	*digest = ISCSI_HEADER_DIGEST_NONE_CRC32C;
	for (size_t i = 0; text && i < ARRAY_SIZE(known); i++) {
		if (!strcmp(text, known[i].name)) {
			*digest = known[i].digest;
			return 0;
		}
	}
	return text ? error_set(err, EINVAL, "header-digest=%s: expected crc32c, none, crc32c-none or none-crc32c",
				text)
		    : 0;
}

static int take_options(struct block *block, struct options *options, struct iscsi_settings *s, struct error *err)
{
	const char *transport = options_get(options, "transport"), *secret = options_get(options, "password-secret"),
		   *password = options_get(options, "password"), *name = options_get(options, "initiator-name");
	uint64_t lun = 0, timeout = DEFAULT_DELAY_S;
	int result;

	s->portal = options_get(options, "portal");
	s->target = options_get(options, "target");
	s->user = options_get(options, "user");
	s->password = password;
	s->initiator_name = name ? name : DEFAULT_INITIATOR;
	if (transport && strcmp(transport, "tcp"))
		return error_set(err, ENOTSUP, "transport=%s: only tcp is supported", transport);
	if (secret && password)
		return error_set(err, EINVAL, "'password' and 'password-secret' properties are mutually exclusive");
	if (secret && !(s->password = block->host->secret(block, secret, err)))
		return error_prefix(err, "password-secret=%s", secret);
	if ((result = options_u64(options, "lun", &lun, 16383, err)) ||
	    (result = options_u64(options, "timeout", &timeout, INT32_MAX, err)) ||
	    (result = take_digest(options, &s->header_digest, err)))
		return result;
	s->lun = (int)lun;
	s->delay_s = (uint32_t)timeout;
	return 0;
}

/* What a URL says goes over the options; the texts are in *url. */
static int take_url(struct options *options, struct iscsi_settings *s, struct iscsi_url *url, struct error *err)
{
	const char *filename = options_get(options, "filename");
	struct iscsi_context *context;
	struct iscsi_url *parsed;

	if (!filename)
		return 0;
	context = iscsi_create_context(s->initiator_name);
	parsed = context ? iscsi_parse_full_url(context, filename) : NULL;
	if (parsed) {
		*url = *parsed;
		iscsi_destroy_url(parsed);
	}
	if (context)
		iscsi_destroy_context(context);
	if (!parsed)
		return error_set(err, EINVAL, "Failed to parse URL : %s", filename);
	s->portal = url->portal;
	s->target = url->target;
	s->lun = url->lun;
	if (url->user[0]) {
		s->user = url->user;
		s->password = url->passwd;
	}
	return 0;
}

static int check_unit(struct block *block, const struct iscsi_unit *unit, const struct block_open *how,
		      struct error *err)
{
	if (!unit->read_only || block->read_only)
		return 0;
	if (!how->auto_read_only)
		return error_set(err, EACCES, "LUN is write protected");
	block->read_only = true;
	return 0;
}

static int open_session(struct block *block, const struct iscsi_settings *s, const struct block_open *how,
			struct error *err)
{
	struct iscsi *iscsi = block->private_data;
	int result;

	if (!s->portal || !s->target)
		return error_set(err, EINVAL, "Need all of transport, portal and target options");
	block->filename = xasprintf("iscsi://%s/%s/%d", s->portal, s->target, s->lun);
	iscsi->session = iscsi_session_open(s, &iscsi->unit, err);
	if (!iscsi->session)
		return -err->code;
	result = check_unit(block, &iscsi->unit, how, err);
	if (result)
		iscsi_session_close(iscsi->session);
	return result;
}

static int iscsi_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct iscsi *iscsi = block->private_data;
	struct iscsi_settings settings = {.log = how->log};
	struct iscsi_url url;
	int result = take_options(block, options, &settings, err);

	if (!result)
		result = take_url(options, &settings, &url, err);
	if (!result)
		result = open_session(block, &settings, how, err);
	if (result)
		return result;
	iscsi->zeroes = xcalloc(1, iscsi->unit.block_bytes);
	iscsi->blocks = (struct whole_blocks){
		.block_bytes = iscsi->unit.block_bytes, .read = read_blocks, .write = write_blocks, .opaque = iscsi};
	pthread_mutex_init(&iscsi->blocks.modifying, NULL);
	block->length = iscsi->unit.blocks * iscsi->unit.block_bytes;
	block->request_alignment = iscsi->unit.block_bytes;
	return 0;
}

static void iscsi_cancel(struct block *block)
{
	struct iscsi *iscsi = block->private_data;

	iscsi_session_cancel(iscsi->session);
}

static void iscsi_close(struct block *block)
{
	struct iscsi *iscsi = block->private_data;

	iscsi_session_close(iscsi->session);
	pthread_mutex_destroy(&iscsi->blocks.modifying);
	free(iscsi->zeroes);
}

static const char *const iscsi_options[] = {
	"filename", "transport",       "portal",         "target",        "lun",     "user",
	"password", "password-secret", "initiator-name", "header-digest", "timeout", NULL,
};

static const struct block_driver iscsi_driver = {
	.name = "iscsi",
	.is_protocol = true,
	.size = sizeof(struct iscsi),
	.known = iscsi_options,
	.open = iscsi_open,
	.close = iscsi_close,
	.pread = iscsi_pread,
	.pwrite = iscsi_pwrite,
	.flush = iscsi_flush,
	.discard = iscsi_discard,
	.write_zeroes = iscsi_write_zeroes,
	.extent = iscsi_extent,
	.cancel = iscsi_cancel,
};

static const struct block_driver *const drivers[] = {&iscsi_driver, NULL};

extern const struct module xuni_module __attribute__((visibility("default")));
const struct module xuni_module = {"block", BLOCK_MODULE_ABI, drivers};

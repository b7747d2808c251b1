/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A logical unit of an iSCSI target over libiscsi, by a connection that comes back (remote.h). */
#ifndef XUNI_BACKEND_BLOCK_MODULES_ISCSI_SESSION_H
#define XUNI_BACKEND_BLOCK_MODULES_ISCSI_SESSION_H

#include "base/error.h"

#include <iscsi/iscsi.h>
#include <stdint.h>
#include <sys/uio.h>

struct iscsi_session;
struct log;

/* All copied. */
struct iscsi_settings {
	const char *portal, *target, *user, *password; /* the last two may be NULL */
	const char *initiator_name;
	int lun;
	enum iscsi_header_digest header_digest;
	uint32_t delay_s; /* how long requests wait for a lost target */
	struct log *log;
};

/* What the unit said of itself at first (SBC-3: READ CAPACITY, block limits, provisioning; SPC-4: MODE SENSE). */
struct iscsi_unit {
	uint64_t blocks;
	uint32_t block_bytes;
	bool read_only, fua;
	bool can_unmap, can_unmap_zeroes,
		reads_zeroes; /* UNMAP; WRITE SAME with UNMAP; unmapped blocks read as zeroes */
	uint32_t max_transfer_blocks, max_unmap_blocks; /* never 0 */
	uint64_t max_same_blocks;
};

enum iscsi_op { ISCSI_OP_READ, ISCSI_OP_WRITE, ISCSI_OP_FLUSH, ISCSI_OP_UNMAP, ISCSI_OP_SAME, ISCSI_OP_STATUS };

/* One command; iov only for READ and WRITE, and one block of data for SAME. */
struct iscsi_command {
	enum iscsi_op op;
	uint64_t lba;
	uint32_t blocks;
	const struct iovec *iov;
	int iov_count;
	bool fua, unmap;
	/* STATUS: of the run that begins at lba. */
	bool mapped;
	uint32_t run_blocks;
};

struct iscsi_session *iscsi_session_open(const struct iscsi_settings *settings, struct iscsi_unit *unit,
					 struct error *err);
/* As remote_cancel. */
void iscsi_session_cancel(struct iscsi_session *session);
void iscsi_session_close(struct iscsi_session *session);
/* Runs a command to its end; 0 or a negative errno, -ENOTSUP when the unit does not know the command. Any thread. */
int iscsi_session_run(struct iscsi_session *session, struct iscsi_command *command);

#endif

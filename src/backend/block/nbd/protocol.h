/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers of the NBD protocol (doc/proto.md of the nbd project). Everything on the wire is big-endian. */
#ifndef XUNI_BACKEND_BLOCK_NBD_PROTOCOL_H
#define XUNI_BACKEND_BLOCK_NBD_PROTOCOL_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define NBD_GREETING_MAGIC   0x4e42444d41474943ull /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC     0x49484156454f5054ull /* "IHAVEOPT" */
#define NBD_OPTION_REPLY     0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC    0x25609513u
#define NBD_SIMPLE_REPLY     0x67446698u
#define NBD_STRUCTURED_REPLY 0x668e33efu

#define NBD_STRING_BYTES  4096u               /* the longest name */
#define NBD_REQUEST_BYTES (32u * 1024 * 1024) /* the most data of one request */
#define NBD_HEADER_BYTES  28u                 /* of a request */

/* Handshake flags, of the server and of the client. */
enum { NBD_FIXED_NEWSTYLE = 1, NBD_NO_ZEROES = 2 };

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT,
	NBD_OPT_LIST,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO,
	NBD_OPT_GO,
	NBD_OPT_STRUCTURED_REPLY,
	NBD_OPT_LIST_META_CONTEXT,
	NBD_OPT_SET_META_CONTEXT,
};

#define NBD_REP_ERR(n) (0x80000000u + (n))
enum {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER,
	NBD_REP_INFO,
	NBD_REP_META_CONTEXT,
};
#define NBD_REP_ERR_UNSUP    NBD_REP_ERR(1)
#define NBD_REP_ERR_POLICY   NBD_REP_ERR(2)
#define NBD_REP_ERR_INVALID  NBD_REP_ERR(3)
#define NBD_REP_ERR_TLS_REQD NBD_REP_ERR(5)
#define NBD_REP_ERR_UNKNOWN  NBD_REP_ERR(6)
#define NBD_REP_ERR_TOO_BIG  NBD_REP_ERR(9)

enum { NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE };

/* Transmission flags. */
enum {
	NBD_HAS_FLAGS = 1 << 0,
	NBD_READ_ONLY = 1 << 1,
	NBD_SEND_FLUSH = 1 << 2,
	NBD_SEND_FUA = 1 << 3,
	NBD_SEND_TRIM = 1 << 5,
	NBD_SEND_WRITE_ZEROES = 1 << 6,
	NBD_SEND_DF = 1 << 7,
	NBD_CAN_MULTI_CONN = 1 << 8,
	NBD_SEND_CACHE = 1 << 10,
	NBD_SEND_FAST_ZERO = 1 << 11,
};

enum nbd_command {
	NBD_CMD_READ,
	NBD_CMD_WRITE,
	NBD_CMD_DISC,
	NBD_CMD_FLUSH,
	NBD_CMD_TRIM,
	NBD_CMD_CACHE,
	NBD_CMD_WRITE_ZEROES,
	NBD_CMD_BLOCK_STATUS,
};

enum {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};

/* Chunks of structured replies. */
enum { NBD_REPLY_FLAG_DONE = 1 };
enum {
	NBD_REPLY_TYPE_NONE = 0,
	NBD_REPLY_TYPE_OFFSET_DATA = 1,
	NBD_REPLY_TYPE_BLOCK_STATUS = 5,
	NBD_REPLY_TYPE_ERROR = 0x8001,
};

/* Of base:allocation. */
enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 };

static inline uint16_t nbd_get16(const void *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return be16toh(value);
}

static inline uint32_t nbd_get32(const void *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return be32toh(value);
}

static inline uint64_t nbd_get64(const void *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return be64toh(value);
}

/* These return what follows. */
static inline uint8_t *nbd_put16(uint8_t *to, uint16_t value)
{
	value = htobe16(value);
	memcpy(to, &value, sizeof(value));
	return to + sizeof(value);
}

static inline uint8_t *nbd_put32(uint8_t *to, uint32_t value)
{
	value = htobe32(value);
	memcpy(to, &value, sizeof(value));
	return to + sizeof(value);
}

static inline uint8_t *nbd_put64(uint8_t *to, uint64_t value)
{
	value = htobe64(value);
	memcpy(to, &value, sizeof(value));
	return to + sizeof(value);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS as images use it: the options of new ones, the header in a file, the passphrase by its secret. */
#ifndef XUNI_BACKEND_BLOCK_LUKS_OPTIONS_H
#define XUNI_BACKEND_BLOCK_LUKS_OPTIONS_H

#include "backend/block/internal.h"
#include "backend/block/luks.h"

/* What -o says about new encryption. */
struct luks_options {
	struct cipher_spec spec;
	enum cipher_hash hash;
	uint64_t iter_time_ms;
	const char *secret; /* id, or NULL */
};

/* Takes PREFIXcipher-alg and so on out of create's options. prefix: "" or "encrypt.". */
int luks_options_decode(const struct block_create *create, const char *prefix, struct luks_options *out,
			struct error *err);

/* A header that lies at this offset of an open file. Must stay where it is while the store is used. */
struct luks_place {
	struct block *file;
	uint64_t offset, bytes; /* how far it may be accessed */
};
struct luks_store luks_store_of(struct luks_place *place);

/* The passphrase of the secret that PREFIXkey-secret names; NULL with a message, also when id is NULL. */
const char *luks_passphrase(const struct block_graph *graph, const char *prefix, const char *id, size_t *length,
			    struct error *err);
/* Opens a header with it. */
int luks_open_with(const struct luks *luks, const struct luks_store *store, const struct block_graph *graph,
		   const char *prefix, const char *id, struct cipher **cipher, struct error *err);

/* --- luks_amend.c --- */
/* Adds or erases key slots, as PREFIXstate, PREFIXkeyslot and so on say. key_secret: of the image as it is open. force:
 * also what loses the last way in. */
int luks_amend(struct luks *luks, const struct luks_store *store, const struct block_graph *graph, const char *prefix,
	       const char *key_secret, struct options *options, bool force, struct error *err);

#endif

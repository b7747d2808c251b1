/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of key slots: one more passphrase, or one less. The rules and texts are qemu's: nothing is overwritten that
 * is in use, and the last way in is not taken away, unless by force. */
#include "backend/block/luks_options.h"

#include <stdlib.h>

struct amend {
	struct luks *luks;
	const struct luks_store *store;
	const struct block_graph *graph;
	const char *new_secret, *old_secret, *key_secret;
	const char *prefix;
	bool has_slot, has_time, force;
	uint64_t slot, iter_time_ms;
};

static const char *take(struct options *options, const char *prefix, const char *name)
{
	char *full = xasprintf("%s%s", prefix, name);
	const char *text = options_get(options, full);

	free(full);
	return text;
}

static int take_number(struct options *options, const char *prefix, const char *name, uint64_t *value, bool *has,
		       struct error *err)
{
	const char *text = take(options, prefix, name);

	*has = text;
	return text && parse_u64(text, UINT64_MAX, value, NULL) < 0
		       ? error_set(err, EINVAL, "Parameter '%s%s' expects a number", prefix, name)
		       : 0;
}

static int bad_slot(const struct amend *a, struct error *err)
{
	return a->slot < LUKS_SLOTS ? 0
				    : error_set(err, EINVAL, "Invalid keyslot %llu specified, must be between 0 and %d",
						(unsigned long long)a->slot, LUKS_SLOTS - 1);
}

static int choose_free_slot(struct amend *a, struct error *err)
{
	if (a->has_slot && a->slot >= LUKS_SLOTS)
		return bad_slot(a, err);
	if (a->has_slot && a->luks->slots[a->slot].active && !a->force)
		return error_set(err, EEXIST, "Refusing to overwrite active keyslot %u - please erase it first",
				 (unsigned)a->slot);
	for (a->slot = a->has_slot ? a->slot : 0; !a->has_slot && a->slot < LUKS_SLOTS; a->slot++)
		if (!a->luks->slots[a->slot].active)
			break;
	return a->slot < LUKS_SLOTS ? 0 : error_set(err, ENOSPC, "Can't add a keyslot - all keyslots are in use");
}

static int add(struct amend *a, struct error *err)
{
	uint8_t key[LUKS_MAX_KEY_BYTES];
	const char *old, *new;
	size_t old_length = 0, new_length = 0;
	int result;

	if (!a->new_secret)
		return error_set(err, EINVAL, "'new-secret' is required to activate a keyslot");
	if (a->old_secret)
		return error_set(err, EINVAL, "'old-secret' must not be given when activating keyslots");
	if ((result = choose_free_slot(a, err)))
		return result;
	old = luks_passphrase(a->graph, a->prefix, a->key_secret, &old_length, err);
	new = old ? block_secret_find(a->graph, a->new_secret, &new_length, err) : NULL;
	if (!new)
		return -EINVAL;
	result = luks_unlock(a->luks, a->store, old, old_length, key, err);
	if (result >= 0)
		result = luks_set_slot(a->luks, (unsigned)a->slot, a->has_time ? a->iter_time_ms : 2000, a->store, key,
				       new, new_length, err);
	cipher_wipe(key, sizeof(key));
	return result;
}

static unsigned count_active(const struct luks *luks)
{
	unsigned count = 0;

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		count += luks->slots[i].active;
	return count;
}

/* By the passphrase that is in them. */
static int erase_matching(struct amend *a, struct error *err)
{
	uint8_t key[LUKS_MAX_KEY_BYTES];
	unsigned matching = 0;
	bool matches[LUKS_SLOTS] = {false};
	size_t length = 0;
	const char *old = block_secret_find(a->graph, a->old_secret, &length, err);
	int result = old ? 0 : -ENOENT;

	for (unsigned i = 0; i < LUKS_SLOTS && result >= 0; i++) {
		if (!a->luks->slots[i].active || (a->has_slot && i != a->slot))
			continue;
		result = luks_try_slot(a->luks, i, a->store, old, length, key, err);
		matches[i] = result > 0;
		matching += matches[i];
	}
	cipher_wipe(key, sizeof(key));
	if (result < 0)
		return result;
	if (!matching && a->has_slot)
		return error_set(err, EINVAL,
				 "Given keyslot %u doesn't contain the given old password for erase operation",
				 (unsigned)a->slot);
	if (!matching)
		return error_set(err, EINVAL, "No keyslots match given (old) password for erase operation");
	if (!a->force && matching == count_active(a->luks))
		return error_set(
			err, EPERM,
			"All the active keyslots match the (old) password that was given and erasing them will erase "
			"all the data in the image irreversibly - refusing operation");
	result = 0;
	for (unsigned i = 0; i < LUKS_SLOTS && !result; i++)
		if (matches[i])
			result = luks_erase_slot(a->luks, i, a->store, err);
	return result;
}

static int erase(struct amend *a, struct error *err)
{
	if (a->new_secret)
		return error_set(err, EINVAL, "'new-secret' must not be given when erasing keyslots");
	if (a->has_time)
		return error_set(err, EINVAL, "'iter-time' must not be given when erasing keyslots");
	if (a->has_slot && a->slot >= LUKS_SLOTS)
		return bad_slot(a, err);
	if (a->old_secret)
		return erase_matching(a, err);
	if (!a->has_slot)
		return error_set(
			err, EINVAL,
			"To erase keyslot(s), either explicit keyslot index or the password currently contained in "
			"them must be given");
	if (!a->luks->slots[a->slot].active)
		return error_set(err, EINVAL, "Given keyslot %u is already erased (inactive) ", (unsigned)a->slot);
	if (!a->force && count_active(a->luks) == 1)
		return error_set(
			err, EPERM,
			"Attempt to erase the only active keyslot %u which will erase all the data in the image "
			"irreversibly - refusing operation",
			(unsigned)a->slot);
	return luks_erase_slot(a->luks, (unsigned)a->slot, a->store, err);
}

int luks_amend(struct luks *luks, const struct luks_store *store, const struct block_graph *graph, const char *prefix,
	       const char *key_secret, struct options *options, bool force, struct error *err)
{
	struct amend a = {.luks = luks,
			  .store = store,
			  .graph = graph,
			  .new_secret = take(options, prefix, "new-secret"),
			  .old_secret = take(options, prefix, "old-secret"),
			  .key_secret = key_secret,
			  .prefix = prefix,
			  .force = force};
	const char *state = take(options, prefix, "state");
	int result;

	if ((result = take_number(options, prefix, "keyslot", &a.slot, &a.has_slot, err)) ||
	    (result = take_number(options, prefix, "iter-time", &a.iter_time_ms, &a.has_time, err)))
		return result;
	if (!state)
		return error_set(err, EINVAL, "Parameter 'state' is missing");
	if (!strcmp(state, "active"))
		return add(&a, err);
	if (!strcmp(state, "inactive"))
		return erase(&a, err);
	return error_set(err, EINVAL, "Parameter 'state' does not accept value '%s'", state);
}

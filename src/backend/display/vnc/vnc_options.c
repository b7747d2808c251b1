/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of -vnc and -display vnc= but those of where it listens (vnc_listen.c), named as qemu names them
 * (qemu-options, "-vnc").
 */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <stdlib.h>

enum { CONNECTIONS = 32 };

const char *const vnc_options[] = {"vnc",       "password",      "password-secret", "share",
				   "display",   "head",          "connections",     "to",
				   "ipv4",      "ipv6",          "reverse",         "lossy",
				   "websocket", "lock-key-sync", "tls-cert",        "tls-key",
				   "tls-creds", "clipboard",     "non-adaptive",    "key-delay-ms",
				   "sasl",      "sasl-authz",    "tls-authz",       "audiodev",
				   "power-control", NULL};

/* What qemu has and this program does not. */
static int refuse_missing(struct options *options, struct error *err)
{
	static const char instead[] = "; password=on, or verify-peer=on of tls-creds=, say who gets in";
	static const struct {
		const char *name, *instead;
	} missing[] = {{"sasl-authz", instead}, {"tls-authz", instead}, {"sasl", instead}, {"audiodev", ""}, {"power-control", ""}};

	for (unsigned i = 0; i < ARRAY_SIZE(missing); i++) {
		const char *value = options_get(options, missing[i].name);

		if (value && strcmp(value, "off"))
			return error_set(err, ENOTSUP, "%s=: not supported yet%s", missing[i].name, missing[i].instead);
	}
	return 0;
}

static int read_share(struct vnc *vnc, struct options *options, struct error *err)
{
	static const char *const names[] = {[VNC_ALLOW_EXCLUSIVE] = "allow-exclusive",
					    [VNC_FORCE_SHARED] = "force-shared",
					    [VNC_IGNORE] = "ignore"};
	const char *share = options_get(options, "share");

	for (unsigned i = 0; share && i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i], share)) {
			vnc->share = i;
			return 0;
		}
	}
	return share ? error_set(err, EINVAL, "unknown vnc share= option") : 0;
}

static char *copy_of(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

int vnc_open_tls(struct vnc *vnc, struct error *err)
{
	struct vnc_tls *tls = vnc->tls_id ? vnc_tls_of_object(vnc->ui.host, vnc->tls_id, err)
					  : vnc_tls_of_files(vnc->tls_cert, vnc->tls_key, err);

	if (!tls)
		return -EINVAL;
	vnc_tls_free(vnc->tls);
	vnc->tls = tls;
	return 0;
}

static int read_tls(struct vnc *vnc, struct options *options, struct error *err)
{
	vnc->tls_cert = copy_of(options_get(options, "tls-cert"));
	vnc->tls_key = copy_of(options_get(options, "tls-key"));
	vnc->tls_id = copy_of(options_get(options, "tls-creds"));
	if (!vnc->tls_cert != !vnc->tls_key)
		return error_set(err, EINVAL, "tls-cert= and tls-key= go together");
	if (vnc->tls_id && vnc->tls_cert)
		return error_set(err, EINVAL, "tls-creds= and tls-cert= do not go together");
	return vnc->tls_id || vnc->tls_cert ? vnc_open_tls(vnc, err) : 0;
}

/* password=on, whose password comes later, or password-secret=. */
static int read_password(struct vnc *vnc, struct options *options, struct error *err)
{
	const char *id = options_get(options, "password-secret"), *secret;
	size_t length;

	if (!id)
		return options_bool(options, "password", &vnc->password, err);
	if (options_get(options, "password"))
		return error_set(err, EINVAL, "'password' flag is redundant with 'password-secret'");
	secret = vnc->ui.host->secret(vnc->ui.host->opaque, id, &length, err);
	if (!secret)
		return -ENOENT;
	if (strlen(secret) != length)
		return error_set(err, EINVAL, "the secret '%s' has a byte of zero: it is no password", id);
	vnc->secret = xstrdup(secret);
	vnc->password = true;
	return 0;
}

int vnc_read_options(struct vnc *vnc, struct options *options, struct error *err)
{
	uint64_t connections = CONNECTIONS, unused;
	bool flag;

	vnc->lock_key_sync = true;
	if (refuse_missing(options, err) < 0)
		return -ENOTSUP;
	if (read_password(vnc, options, err) < 0 || options_bool(options, "reverse", &vnc->reverse, err) < 0 ||
	    options_bool(options, "lossy", &vnc->lossy, err) < 0 ||
	    options_bool(options, "non-adaptive", &flag, err) < 0 ||
	    options_bool(options, "clipboard", &vnc->clipboard, err) < 0 ||
	    options_bool(options, "lock-key-sync", &vnc->lock_key_sync, err) < 0 ||
	    options_u64(options, "connections", &connections, 256, err) < 0 ||
	    options_u64(options, "head", &unused, 0, err) < 0 ||
	    options_u64(options, "key-delay-ms", &unused, 1000, err) < 0)
		return -EINVAL;
	vnc->connections = (unsigned)connections;
	if (options_get(options, "display")) {
		vnc->display = xstrdup(options_get(options, "display"));
		if (!display_console_find(vnc->ui.host->display, vnc->display))
			return error_set(err, ENODEV, "Device '%s' not found", vnc->display);
	}
	if (read_share(vnc, options, err) < 0)
		return -EINVAL;
	return read_tls(vnc, options, err);
}

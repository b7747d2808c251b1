/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the VNC server's TLS needs: credentials, read once, and sessions with them. They come from tls-creds=ID with an
 * object tls-creds-x509 or tls-creds-anon (files in dir= by qemu's names; verify-peer=on, the default, asks clients for
 * a certificate), or from two files, tls-cert= and tls-key=.
 *
 * Left out: tls-creds-psk, dh-params.pem (groups of RFC 7919 instead), sanity-check=. Main loop's thread where nothing
 * else is said.
 */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <unistd.h>

struct vnc_tls {
	unsigned others;                              /* besides the one user who frees it */
	gnutls_certificate_credentials_t certificate; /* NULL: anonymous */
	gnutls_anon_server_credentials_t anonymous;
	bool verify; /* the client's certificate */
	char *priority;
};

bool vnc_tls_is_anonymous(const struct vnc_tls *tls)
{
	return tls->anonymous;
}

struct vnc_tls *vnc_tls_hold(struct vnc_tls *tls)
{
	if (tls)
		tls->others++;
	return tls;
}

void vnc_tls_free(struct vnc_tls *tls)
{
	if (!tls || tls->others-- > 0)
		return;
	if (tls->certificate)
		gnutls_certificate_free_credentials(tls->certificate);
	if (tls->anonymous)
		gnutls_anon_free_server_credentials(tls->anonymous);
	free(tls->priority);
	free(tls);
}

static int load_certificate(struct vnc_tls *tls, const char *certificate, const char *key, const char *password,
			    struct error *err)
{
	const char *missing = access(certificate, R_OK) < 0 ? certificate : access(key, R_OK) < 0 ? key : NULL;
	int rc;

	if (missing)
		return error_set(err, errno, "Unable to access credentials %s: %s", missing, strerror(errno));
	rc = gnutls_certificate_allocate_credentials(&tls->certificate);
	if (rc >= 0)
		rc = gnutls_certificate_set_x509_key_file2(tls->certificate, certificate, key, GNUTLS_X509_FMT_PEM,
							   password, 0);
	if (rc < 0)
		return error_set(err, EINVAL, "Cannot load certificate '%s' & key '%s': %s", certificate, key,
				 gnutls_strerror(rc));
	gnutls_certificate_set_known_dh_params(tls->certificate, GNUTLS_SEC_PARAM_MEDIUM);
	return 0;
}

struct vnc_tls *vnc_tls_of_files(const char *certificate, const char *key, struct error *err)
{
	struct vnc_tls *tls = xcalloc(1, sizeof(*tls));

	tls->priority = xstrdup("NORMAL");
	if (load_certificate(tls, certificate, key, NULL, err) == 0)
		return tls;
	vnc_tls_free(tls);
	return NULL;
}

/* Whom clients' certificates have to be from. */
static int load_authority(struct vnc_tls *tls, const char *authority, const char *revoked, struct error *err)
{
	int rc;

	if (access(authority, R_OK) < 0)
		return error_set(err, errno, "Unable to access credentials %s: %s", authority, strerror(errno));
	rc = gnutls_certificate_set_x509_trust_file(tls->certificate, authority, GNUTLS_X509_FMT_PEM);
	if (rc < 0)
		return error_set(err, EINVAL, "Cannot load CA certificate '%s': %s", authority, gnutls_strerror(rc));
	if (access(revoked, R_OK) == 0)
		rc = gnutls_certificate_set_x509_crl_file(tls->certificate, revoked, GNUTLS_X509_FMT_PEM);
	return rc < 0 ? error_set(err, EINVAL, "Cannot load CRL '%s': %s", revoked, gnutls_strerror(rc)) : 0;
}

static int open_x509(struct vnc_tls *tls, const struct display_host *host, struct options *options, struct error *err)
{
	const char *dir = options_get(options, "dir"), *id = options_get(options, "passwordid"), *password = NULL;
	char *authority, *revoked, *certificate, *key;
	size_t length;
	int rc;

	tls->verify = true;
	if (!dir)
		return error_set(err, EINVAL, "Missing 'dir' property value");
	if (options_bool(options, "verify-peer", &tls->verify, err) < 0)
		return -EINVAL;
	if (id) {
		password = host->secret(host->opaque, id, &length, err);
		if (!password)
			return -ENOENT;
	}
	authority = xasprintf("%s/ca-cert.pem", dir);
	revoked = xasprintf("%s/ca-crl.pem", dir);
	certificate = xasprintf("%s/server-cert.pem", dir);
	key = xasprintf("%s/server-key.pem", dir);
	rc = access(authority, R_OK) < 0 ? load_authority(tls, authority, revoked, err)
					 : load_certificate(tls, certificate, key, password, err);
	if (rc == 0)
		rc = load_authority(tls, authority, revoked, err);
	free(authority);
	free(revoked);
	free(certificate);
	free(key);
	return rc;
}

static int open_anonymous(struct vnc_tls *tls, struct error *err)
{
	int rc = gnutls_anon_allocate_server_credentials(&tls->anonymous);

	if (rc < 0)
		return error_set(err, ENOMEM, "Cannot allocate credentials: %s", gnutls_strerror(rc));
	gnutls_anon_set_server_known_dh_params(tls->anonymous, GNUTLS_SEC_PARAM_MEDIUM);
	return 0;
}

struct vnc_tls *vnc_tls_of_object(const struct display_host *host, const char *id, struct error *err)
{
	const char *type, *endpoint, *priority;
	struct options *from = host->object(host->opaque, id, &type), options;
	struct vnc_tls *tls = NULL;
	int rc;

	if (!from) {
		error_set(err, ENOENT, "No TLS credentials with id '%s'", id);
		return NULL;
	}
	options_copy(&options, from);
	endpoint = options_get(&options, "endpoint");
	priority = options_get(&options, "priority");
	if (strncmp(type, "tls-creds-", strlen("tls-creds-")) != 0) {
		error_set(err, EINVAL, "Object with id '%s' is not TLS credentials", id);
	} else if (!endpoint || strcmp(endpoint, "server") != 0) {
		error_set(err, EINVAL, "Expected TLS credentials for a server endpoint");
	} else {
		tls = xcalloc(1, sizeof(*tls));
		tls->priority = xasprintf("%s%s", priority ? priority : "NORMAL",
					  strcmp(type, "tls-creds-anon") ? "" : ":+ANON-ECDH:+ANON-DH");
		rc = strcmp(type, "tls-creds-anon") ? open_x509(tls, host, &options, err) : open_anonymous(tls, err);
		if (rc < 0) {
			vnc_tls_free(tls);
			tls = NULL;
		}
	}
	options_free(&options);
	return tls;
}

gnutls_session_t vnc_tls_session(const struct vnc_tls *tls)
{
	gnutls_session_t session;

	if (gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0)
		return NULL;
	if (gnutls_priority_set_direct(session, tls->priority, NULL) < 0 ||
	    (tls->anonymous ? gnutls_credentials_set(session, GNUTLS_CRD_ANON, tls->anonymous)
			    : gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->certificate)) < 0) {
		gnutls_deinit(session);
		return NULL;
	}
	if (tls->verify)
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	return session;
}

/* Distinguished name of the certificate that the client has shown. */
static void read_name(gnutls_session_t session, char name[VNC_NAME_MAX])
{
	const gnutls_datum_t *shown = gnutls_certificate_get_peers(session, NULL);
	size_t length = VNC_NAME_MAX;
	gnutls_x509_crt_t certificate;

	if (!shown || gnutls_x509_crt_init(&certificate) < 0)
		return;
	if (gnutls_x509_crt_import(certificate, shown, GNUTLS_X509_FMT_DER) < 0 ||
	    gnutls_x509_crt_get_dn(certificate, name, &length) < 0)
		name[0] = 0;
	gnutls_x509_crt_deinit(certificate);
}

bool vnc_tls_accepts(const struct vnc_tls *tls, gnutls_session_t session, char name[VNC_NAME_MAX])
{
	unsigned status;

	name[0] = 0;
	if (!tls->verify)
		return true;
	if (gnutls_certificate_verify_peers2(session, &status) < 0 || status)
		return false;
	read_name(session, name);
	return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the VNC server's TLS needs: a certificate with its key (tls-cert=, tls-key=), read once, and sessions with it.
 * Main loop's thread, but for vnc_tls_session.
 */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct vnc_tls {
	gnutls_certificate_credentials_t certificate;
};

void vnc_tls_free(struct vnc_tls *tls)
{
	if (tls && tls->certificate)
		gnutls_certificate_free_credentials(tls->certificate);
	free(tls);
}

struct vnc_tls *vnc_tls_new(const char *certificate, const char *key, struct error *err)
{
	struct vnc_tls *tls = xcalloc(1, sizeof(*tls));
	int rc = gnutls_certificate_allocate_credentials(&tls->certificate);

	if (access(certificate, R_OK) < 0 || access(key, R_OK) < 0)
		error_set_errno(err, errno, "cannot read %s", access(certificate, R_OK) < 0 ? certificate : key);
	else if (rc < 0 || (rc = gnutls_certificate_set_x509_key_file(tls->certificate, certificate, key,
								      GNUTLS_X509_FMT_PEM)) < 0)
		error_set(err, EINVAL, "Unable to load certificate '%s' with key '%s': %s", certificate, key,
			  gnutls_strerror(rc));
	else
		return tls;
	vnc_tls_free(tls);
	return NULL;
}

gnutls_session_t vnc_tls_session(const struct vnc_tls *tls)
{
	gnutls_session_t session;

	if (gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0)
		return NULL;
	if (gnutls_set_default_priority(session) < 0 ||
	    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->certificate) < 0) {
		gnutls_deinit(session);
		return NULL;
	}
	return session;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Qemu's additions to RFB (the community's protocol page, rfbproto: "QEMU Extended Key Event", "QEMU Pointer Motion
 * Change", "QEMU LED State"): keys by their place on the keyboard, steps of a relative pointer, lock keys.
 */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

enum { ENCODING_POINTER = -257, ENCODING_KEYS = -258, ENCODING_LED = -261 };
enum { MESSAGE_QEMU = 255, QEMU_KEY = 0, KEY_BYTES = 10 };

static int encodings[] = {ENCODING_POINTER, ENCODING_KEYS, ENCODING_LED, 0};

static struct vnc_client *client_of(const rfbClientRec *cl)
{
	return cl->screen->screenData;
}

static rfbBool new_client(rfbClientRec *cl, void **data)
{
	*data = NULL;
	return TRUE;
}

static rfbBool init_client(rfbClientRec *cl, void *data)
{
	return TRUE;
}

static rfbBool enable(rfbClientRec *cl, void **data, int encoding)
{
	struct vnc_client *client = client_of(cl);

	switch (encoding) {
	case ENCODING_POINTER:
		client->wants_pointer_type = true;
		client->pointer_told = -1;
		break;
	case ENCODING_KEYS:
		client->wants_keys = true;
		client->keys_told = false;
		break;
	case ENCODING_LED:
		client->wants_led = true;
		client->led_told = 0;
		break;
	default:
		return FALSE;
	}
	return TRUE;
}

static rfbBool handle(rfbClientRec *cl, void *data, const rfbClientToServerMsg *message)
{
	uint8_t bytes[KEY_BYTES], kind;

	if (message->type != MESSAGE_QEMU)
		return FALSE;
	/* Of an unknown kind the length is not known either. */
	if (rfbReadExact(cl, (char *)&kind, 1) <= 0 || kind != QEMU_KEY ||
	    rfbReadExact(cl, (char *)bytes, sizeof(bytes)) <= 0) {
		rfbCloseClient(cl);
		return TRUE;
	}
	vnc_key_number(client_of(cl), load_be32(bytes + 2), load_be32(bytes + 6), load_be16(bytes));
	return TRUE;
}

static rfbProtocolExtension extension = {
	.newClient = new_client,
	.init = init_client,
	.pseudoEncodings = encodings,
	.enablePseudoEncoding = enable,
	.handleMessage = handle,
};

static void register_once(void)
{
	rfbRegisterProtocolExtension(&extension);
}

/* The library's list of extensions is one of the process. */
void vnc_extension_register(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_once);
}

/* An update of one rectangle that is none. */
static void tell(struct vnc_client *client, int32_t encoding, uint16_t x, const uint8_t *payload, size_t length)
{
	uint8_t message[32] = {rfbFramebufferUpdate, 0, 0, 1};

	store_be16(message + 4, x);
	store_be16(message + 8, (uint16_t)client->screen->width);
	store_be16(message + 10, (uint16_t)client->screen->height);
	store_be32(message + 12, (uint32_t)encoding);
	if (length)
		memcpy(message + 16, payload, length);
	if (rfbWriteExact(client->cl, (const char *)message, (int)(16 + length)) < 0)
		rfbCloseClient(client->cl);
}

void vnc_extension_tell(struct vnc_client *client)
{
	unsigned leds = atomic_load(&client->vnc->leds);
	bool absolute = atomic_load(&client->vnc->absolute);
	uint8_t state = (uint8_t)leds; /* both count Scroll, Num, Caps from bit 0 */

	if (client->wants_keys && !client->keys_told) {
		client->keys_told = true;
		tell(client, ENCODING_KEYS, 0, NULL, 0);
	}
	if (client->wants_pointer_type && client->pointer_told != absolute) {
		client->pointer_told = absolute;
		tell(client, ENCODING_POINTER, absolute, NULL, 0);
	}
	if (client->wants_led && client->led_told != (0x100 | leds)) {
		client->led_told = 0x100 | leds;
		tell(client, ENCODING_LED, 0, &state, 1);
	}
}

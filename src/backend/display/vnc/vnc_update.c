/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Updates in hextile (RFC 6143 7.6.1), which the library's encoder is slow at. All that is not mere pixels (a new size,
 * a cursor, a scaled screen), and the other encodings, are left to the library.
 */
#include "backend/display/vnc/vnc.h"
#include "backend/display/vnc/vnc_hextile.h"

#include "base/util.h"

#include <rfb/rfbregion.h>

static bool is_ours(const rfbClientRec *cl)
{
	int bits = cl->format.bitsPerPixel;

	if (cl->preferredEncoding != rfbEncodingHextile || (bits != 8 && bits != 16 && bits != 32))
		return false;
	return cl->scaledScreen == cl->screen && !(cl->useNewFBSize && cl->newFBSizePending) &&
	       !(cl->enableCursorShapeUpdates ? cl->cursorWasChanged && cl->readyForSetColourMapEntries
					      : cl->screen->cursor != NULL) &&
	       !(cl->enableCursorPosUpdates && cl->cursorWasMoved) && !cl->enableSupportedMessages &&
	       !cl->enableSupportedEncodings && !cl->enableServerIdentity && sraRgnEmpty(cl->copyRegion);
}

/* One pixel a word, in the client's format. */
static void fetch_tile(rfbClientPtr cl, int x, int y, int width, int height, uint32_t tile[HEXTILE_SIDE][HEXTILE_SIDE])
{
	rfbScreenInfoPtr screen = cl->screen;
	char *from = screen->frameBuffer + (size_t)y * (size_t)screen->paddedWidthInBytes + (size_t)x * 4;
	int bytes = cl->format.bitsPerPixel / 8;
	uint32_t packed[HEXTILE_SIDE * HEXTILE_SIDE];
	bool as_it_is = bytes == 4 && width == HEXTILE_SIDE;
	const char *at = (const char *)packed;

	cl->translateFn(cl->translateLookupTable, &screen->serverFormat, &cl->format, from,
			as_it_is ? (char *)tile : (char *)packed, screen->paddedWidthInBytes, width, height);
	for (int row = 0; row < height && !as_it_is; row++) {
		for (int column = 0; column < width; column++, at += bytes) {
			tile[row][column] = 0;
			memcpy(&tile[row][column], at, (size_t)bytes);
		}
	}
}

static bool make_room(rfbClientPtr cl, int bytes)
{
	return cl->ublen + bytes <= UPDATE_BUF_SIZE || rfbSendUpdateBuf(cl);
}

static bool send_rectangle(rfbClientPtr cl, const sraRect *rect)
{
	uint32_t tile[HEXTILE_SIDE][HEXTILE_SIDE] = {{0}};
	struct hextile_colours colours = {0};
	uint8_t *header;

	if (!make_room(cl, sz_rfbFramebufferUpdateRectHeader))
		return false;
	header = (uint8_t *)cl->updateBuf + cl->ublen;
	store_be16(header, (uint16_t)rect->x1);
	store_be16(header + 2, (uint16_t)rect->y1);
	store_be16(header + 4, (uint16_t)(rect->x2 - rect->x1));
	store_be16(header + 6, (uint16_t)(rect->y2 - rect->y1));
	store_be32(header + 8, rfbEncodingHextile);
	cl->ublen += sz_rfbFramebufferUpdateRectHeader;
	for (int y = rect->y1; y < rect->y2; y += HEXTILE_SIDE) {
		for (int x = rect->x1; x < rect->x2; x += HEXTILE_SIDE) {
			int width = rect->x2 - x < HEXTILE_SIDE ? rect->x2 - x : HEXTILE_SIDE;
			int height = rect->y2 - y < HEXTILE_SIDE ? rect->y2 - y : HEXTILE_SIDE;

			if (!make_room(cl, HEXTILE_TILE_MAX))
				return false;
			fetch_tile(cl, x, y, width, height, tile);
			cl->ublen += (int)hextile_encode(&colours, tile, (unsigned)width, (unsigned)height,
							 (unsigned)cl->format.bitsPerPixel / 8,
							 (uint8_t *)cl->updateBuf + cl->ublen);
		}
	}
	return true;
}

/* region: of the screen, not empty. The library closes a client that nothing can be sent to. */
static void send_region(rfbClientPtr cl, sraRegionPtr region)
{
	uint8_t *header = (uint8_t *)cl->updateBuf;
	sraRectangleIterator *iterator;
	bool good = true;
	sraRect rect;

	header[0] = rfbFramebufferUpdate;
	header[1] = 0;
	store_be16(header + 2, (uint16_t)sraRgnCountRects(region));
	cl->ublen = sz_rfbFramebufferUpdateMsg;
	iterator = sraRgnGetIterator(region);
	while (good && sraRgnIteratorNext(iterator, &rect))
		good = send_rectangle(cl, &rect);
	sraRgnReleaseIterator(iterator);
	if (good)
		rfbSendUpdateBuf(cl);
}

void vnc_update_send(struct vnc_client *client)
{
	rfbClientPtr cl = client->cl;
	sraRegionPtr region, box;

	if (!is_ours(cl)) {
		rfbUpdateClient(cl);
		return;
	}
	region = sraRgnCreateRgn(cl->modifiedRegion);
	if (sraRgnAnd(region, cl->requestedRegion)) {
		if (sraRgnCountRects(region) > (unsigned long)cl->screen->maxRectsPerUpdate) {
			box = sraRgnBBox(region);
			sraRgnDestroy(region);
			region = box;
		}
		sraRgnSubtract(cl->modifiedRegion, region);
		sraRgnMakeEmpty(cl->requestedRegion);
		send_region(cl, region);
	}
	sraRgnDestroy(region);
}

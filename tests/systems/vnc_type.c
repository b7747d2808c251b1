// SPDX-License-Identifier: GPL-2.0-or-later
// A viewer without a window, on LibVNCClient: waits for the first whole picture, then types a line and Return.
//   vnc-type SOCKET TEXT
#include <rfb/rfbclient.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool painted;

static void finished(rfbClient *client)
{
	(void)client;
	painted = true;
}

static bool serve(rfbClient *client, unsigned int wait_us)
{
	int ready = WaitForMessage(client, wait_us);
	return ready == 0 || (ready > 0 && HandleRFBServerMessage(client));
}

static void press(rfbClient *client, unsigned int keysym)
{
	SendKeyEvent(client, keysym, TRUE);
	SendKeyEvent(client, keysym, FALSE);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: vnc-type SOCKET TEXT\n");
		return 2;
	}
	rfbClient *client = rfbGetClient(8, 3, 4);
	free(client->serverHost);
	client->serverHost = strdup(argv[1]);
	client->FinishedFrameBufferUpdate = finished;
	if (!rfbInitClient(client, NULL, NULL)) {
		fprintf(stderr, "vnc-type: no session with %s\n", argv[1]);
		return 1;
	}
	while (!painted)
		if (!serve(client, 100000))
			return 1;
	printf("%dx%d %s\n", client->width, client->height, client->desktopName);
	for (const char *text = argv[2]; *text; text++) {
		press(client, (unsigned char)*text);
		// A keyboard's buffer holds 16 bytes, and firmware's as many keys.
		for (int i = 0; i < 3; i++)
			if (!serve(client, 20000))
				return 1;
	}
	press(client, 0xff0d);
	serve(client, 100000);
	rfbClientCleanup(client);
	return 0;
}

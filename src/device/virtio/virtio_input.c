/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio input devices (virtio 1.2, 5.8): keyboard, mouse and tablet, which speak Linux' evdev
 * (linux/input-event-codes.h). The driver asks for what a device is through the configuration's select and subsel;
 * events go out through queue 0, LEDs come back through queue 1.
 *
 * Events wait in a ring while the driver has no buffers there. A key is taken only when its release will fit too, so no
 * key hangs; movements add up outside of the ring until it is empty. While no driver uses the device its sinks stand
 * behind all others (PS/2 takes the keys) and drop what reaches them.
 */
#include "backend/display/display.h"
#include "backend/display/input.h"
#include "base/util.h"
#include "device/virtio/virtio.h"

#include <stdatomic.h>

enum { EVENT_QUEUE, STATUS_QUEUE, QUEUE_SIZE = 64 };
enum { CONFIG_SELECT, CONFIG_SUBSEL, CONFIG_LENGTH, CONFIG_DATA = 8, CONFIG_BYTES = CONFIG_DATA + 128 };
enum {
	SELECT_NAME = 0x01,
	SELECT_SERIAL = 0x02,
	SELECT_IDS = 0x03,
	SELECT_PROPERTIES = 0x10,
	SELECT_EVENTS = 0x11,
	SELECT_AXIS = 0x12,
};
enum { EV_SYN, EV_KEY, EV_REL, EV_ABS, EV_LED = 0x11, EV_REP = 0x14 };
enum { REL_X, REL_Y, REL_HWHEEL = 6, REL_WHEEL = 8 };
enum { ABS_X, ABS_Y };
enum { BTN_LEFT = 0x110, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA, BTN_GEAR_DOWN = 0x150, BTN_GEAR_UP };
enum { LED_NUM, LED_CAPS, LED_SCROLL };
enum { BUS_VIRTUAL = 6, VENDOR = 0x0627 };

enum { EVENT_BYTES = 8, RING_EVENTS = 1024, KEY_CODES = 0x300, TOTAL_MAX = 1 << 20 };

struct virtio_input {
	struct virtio_device virtio;
	const struct model *model;
	char *serial, *display;
	uint32_t head;
	bool wheel_axis;
	struct input_sink sink;
	struct virtqueue *events;
	atomic_bool active; /* a driver has it in use */
	uint8_t leds;       /* statusq's handler */
	uint8_t select, subsel;

	pthread_mutex_t lock;                    /* for what follows; inside the router's and the queue's */
	uint8_t ring[RING_EVENTS * EVENT_BYTES]; /* as they go out */
	uint16_t ring_head, ring_count;
	uint8_t held[KEY_CODES / 8];
	int32_t dx, dy, x, y;
	bool moved_to; /* x, y have not been told yet */
};

/* What makes the three devices differ. */
struct model {
	struct virtio_class class;
	const char *name;
	uint16_t product, version;
	unsigned kinds;
};

static const uint16_t button_codes[INPUT_BUTTONS] = {
	[INPUT_LEFT] = BTN_LEFT,        [INPUT_MIDDLE] = BTN_MIDDLE,        [INPUT_RIGHT] = BTN_RIGHT,
	[INPUT_WHEEL_UP] = BTN_GEAR_UP, [INPUT_WHEEL_DOWN] = BTN_GEAR_DOWN, [INPUT_SIDE] = BTN_SIDE,
	[INPUT_EXTRA] = BTN_EXTRA,
};

static struct virtio_input *from_virtio(struct virtio_device *device)
{
	return container_of(device, struct virtio_input, virtio);
}

static bool takes(const struct virtio_input *input, enum input_kind kind)
{
	return input->model->kinds & INPUT_BIT(kind);
}

/* --- configuration --- */

static void set_bit(uint8_t *config, unsigned bit)
{
	config[CONFIG_DATA + bit / 8] |= (uint8_t)(1u << bit % 8);
	config[CONFIG_LENGTH] = (uint8_t)max_u64(config[CONFIG_LENGTH], bit / 8 + 1);
}

static void set_text(uint8_t *config, const char *text)
{
	config[CONFIG_LENGTH] = (uint8_t)min_u64(strlen(text), CONFIG_BYTES - CONFIG_DATA);
	memcpy(config + CONFIG_DATA, text, config[CONFIG_LENGTH]);
}

/* A wheel is an axis, or two buttons. */
static bool is_wheel(const struct virtio_input *input, unsigned which)
{
	return input->wheel_axis && (which == INPUT_WHEEL_UP || which == INPUT_WHEEL_DOWN);
}

static void describe_keys(const struct virtio_input *input, uint8_t *config)
{
	if (takes(input, INPUT_KEY))
		for (unsigned key = 1; key < INPUT_KEYS; key++)
			set_bit(config, input_key_rows[key].linux_code);
	if (takes(input, INPUT_BUTTON))
		for (unsigned button = 0; button < INPUT_BUTTONS; button++)
			if (button_codes[button] && !is_wheel(input, button))
				set_bit(config, button_codes[button]);
}

static void describe_events(const struct virtio_input *input, uint8_t *config)
{
	switch (input->subsel) {
	case EV_KEY:
		describe_keys(input, config);
		break;
	case EV_REL:
		if (takes(input, INPUT_RELATIVE)) {
			set_bit(config, REL_X);
			set_bit(config, REL_Y);
		}
		if (takes(input, INPUT_BUTTON) && input->wheel_axis) {
			set_bit(config, REL_WHEEL);
			set_bit(config, REL_HWHEEL);
		}
		break;
	case EV_ABS:
		if (takes(input, INPUT_ABSOLUTE)) {
			set_bit(config, ABS_X);
			set_bit(config, ABS_Y);
		}
		break;
	case EV_LED:
		if (takes(input, INPUT_KEY))
			for (unsigned led = LED_NUM; led <= LED_SCROLL; led++)
				set_bit(config, led);
		break;
	case EV_REP:
		if (takes(input, INPUT_KEY))
			config[CONFIG_LENGTH] = 1;
		break;
	}
}

static void config_read(struct virtio_device *device, uint8_t *config)
{
	struct virtio_input *input = from_virtio(device);
	uint8_t *data = config + CONFIG_DATA;

	config[CONFIG_SELECT] = input->select;
	config[CONFIG_SUBSEL] = input->subsel;
	switch (input->select) {
	case SELECT_NAME:
		if (!input->subsel)
			set_text(config, input->model->name);
		break;
	case SELECT_SERIAL:
		if (!input->subsel && input->serial)
			set_text(config, input->serial);
		break;
	case SELECT_IDS:
		if (input->subsel)
			break;
		config[CONFIG_LENGTH] = 8;
		store_le16(data, BUS_VIRTUAL);
		store_le16(data + 2, VENDOR);
		store_le16(data + 4, input->model->product);
		store_le16(data + 6, input->model->version);
		break;
	case SELECT_EVENTS:
		describe_events(input, config);
		break;
	case SELECT_AXIS:
		if (takes(input, INPUT_ABSOLUTE) && input->subsel <= ABS_Y) {
			config[CONFIG_LENGTH] = 20;
			store_le32(data + 4, INPUT_ABSOLUTE_MAX);
		}
		break;
	}
}

static void config_write(struct virtio_device *device, const uint8_t *config, unsigned offset, unsigned size)
{
	struct virtio_input *input = from_virtio(device);

	input->select = config[CONFIG_SELECT];
	input->subsel = config[CONFIG_SUBSEL];
}

/* --- events; with the lock held --- */

static void put(struct virtio_input *input, uint16_t type, uint16_t code, int32_t value)
{
	uint8_t *at;

	if (input->ring_count == RING_EVENTS)
		return;
	at = input->ring + (input->ring_head + input->ring_count++) % RING_EVENTS * EVENT_BYTES;
	store_le16(at, type);
	store_le16(at + 2, code);
	store_le32(at + 4, (uint32_t)value);
}

static unsigned count_held(const struct virtio_input *input)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sizeof(input->held); i++)
		count += (unsigned)__builtin_popcount(input->held[i]);
	return count;
}

/* Room for so many events and still for the releases of all keys, each with its own sync. */
static bool has_room(const struct virtio_input *input, unsigned events)
{
	return input->ring_count + events + 2 * (count_held(input) + 1) <= RING_EVENTS;
}

static void key(struct virtio_input *input, uint16_t code, bool down)
{
	uint8_t bit = (uint8_t)(1u << code % 8), *byte;

	if (!code || code >= KEY_CODES)
		return;
	byte = &input->held[code / 8];
	/* Drivers repeat by themselves. */
	if (!(*byte & bit) == !down || (down && !has_room(input, 2)))
		return;
	*byte ^= bit;
	put(input, EV_KEY, code, down);
}

static void notch(struct virtio_input *input, uint16_t axis, int32_t value)
{
	if (has_room(input, 2))
		put(input, EV_REL, axis, value);
}

static void button(struct virtio_input *input, unsigned which, bool down)
{
	if (which >= INPUT_BUTTONS)
		return;
	if (!is_wheel(input, which))
		key(input, button_codes[which], down);
	if (!down || !input->wheel_axis)
		return;
	if (which == INPUT_WHEEL_UP || which == INPUT_WHEEL_DOWN)
		notch(input, REL_WHEEL, which == INPUT_WHEEL_UP ? 1 : -1);
	if (which == INPUT_WHEEL_LEFT || which == INPUT_WHEEL_RIGHT)
		notch(input, REL_HWHEEL, which == INPUT_WHEEL_RIGHT ? 1 : -1);
}

static int32_t add(int32_t total, int32_t step)
{
	int64_t sum = (int64_t)total + step;

	return sum < -TOTAL_MAX ? -TOTAL_MAX : sum > TOTAL_MAX ? TOTAL_MAX : (int32_t)sum;
}

/* What has added up goes into the ring. */
static void tell_movement(struct virtio_input *input)
{
	if (input->dx)
		put(input, EV_REL, REL_X, input->dx);
	if (input->dy)
		put(input, EV_REL, REL_Y, input->dy);
	if (input->moved_to) {
		put(input, EV_ABS, ABS_X, input->x);
		put(input, EV_ABS, ABS_Y, input->y);
	}
	input->dx = input->dy = 0;
	input->moved_to = false;
}

static bool moved(const struct virtio_input *input)
{
	return input->dx || input->dy || input->moved_to;
}

/* The position counts before the button that is pressed there. */
static void take_event(struct virtio_input *input, const struct input_event *event)
{
	switch (event->kind) {
	case INPUT_KEY:
		if (event->code < INPUT_KEYS)
			key(input, input_key_rows[event->code].linux_code, event->value);
		break;
	case INPUT_BUTTON:
		if (moved(input) && has_room(input, 6))
			tell_movement(input);
		button(input, event->code, event->value);
		break;
	case INPUT_RELATIVE:
		if (event->code == INPUT_X)
			input->dx = add(input->dx, event->value);
		else
			input->dy = add(input->dy, event->value);
		break;
	case INPUT_ABSOLUTE:
		*(event->code == INPUT_X ? &input->x : &input->y) = event->value;
		input->moved_to = true;
		break;
	default:
		break;
	}
}

static bool ends_with_sync(const struct virtio_input *input)
{
	return load_le16(input->ring + (input->ring_head + input->ring_count - 1u) % RING_EVENTS * EVENT_BYTES) ==
	       EV_SYN;
}

static void end_batch(struct virtio_input *input)
{
	if (!input->ring_count)
		tell_movement(input);
	if (input->ring_count && !ends_with_sync(input))
		put(input, EV_SYN, 0, 0);
}

/* --- the router's side --- */

static void on_event(void *opaque, const struct input_event *event)
{
	struct virtio_input *input = opaque;

	if (!atomic_load(&input->active))
		return;
	pthread_mutex_lock(&input->lock);
	take_event(input, event);
	pthread_mutex_unlock(&input->lock);
}

static void on_sync(void *opaque)
{
	struct virtio_input *input = opaque;
	bool any;

	pthread_mutex_lock(&input->lock);
	end_batch(input);
	any = input->ring_count;
	pthread_mutex_unlock(&input->lock);
	if (any)
		virtqueue_schedule(input->events);
}

/* --- queues --- */

/* The oldest event; false when there is none. */
static bool next_event(struct virtio_input *input, uint8_t *to)
{
	bool any;

	pthread_mutex_lock(&input->lock);
	if (!input->ring_count && moved(input))
		end_batch(input);
	any = input->ring_count;
	if (any) {
		memcpy(to, input->ring + input->ring_head * EVENT_BYTES, EVENT_BYTES);
		input->ring_head = (input->ring_head + 1) % RING_EVENTS;
		input->ring_count--;
	}
	pthread_mutex_unlock(&input->lock);
	return any;
}

static void handle_events(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_input *input = from_virtio(device);
	struct virtq_element *element = NULL;
	uint8_t event[EVENT_BYTES];

	/* The driver tells of new buffers only when there are none left, which is when events wait. */
	do {
		virtqueue_kicks_off(queue);
		while ((element = virtqueue_pop(queue))) {
			if (element->in_bytes < EVENT_BYTES) {
				virtio_fault(device, "a buffer of %zu bytes for events of %u", element->in_bytes,
					     EVENT_BYTES);
				virtqueue_drop(element);
				return;
			}
			if (!next_event(input, event)) {
				virtqueue_unpop(element);
				break;
			}
			iov_write(element->in, element->in_count, 0, event, EVENT_BYTES);
			virtqueue_push(element, EVENT_BYTES);
		}
	} while (!element && virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
}

static void take_status(struct virtio_input *input, const uint8_t *event)
{
	static const uint8_t leds[] = {
		[LED_NUM] = INPUT_LED_NUM, [LED_CAPS] = INPUT_LED_CAPS, [LED_SCROLL] = INPUT_LED_SCROLL};
	unsigned code = load_le16(event + 2);

	if (load_le16(event) != EV_LED || code >= ARRAY_SIZE(leds))
		return;
	if (load_le32(event + 4))
		input->leds |= leds[code];
	else
		input->leds &= (uint8_t)~leds[code];
}

static void handle_status(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_input *input = from_virtio(device);
	struct virtq_element *element;
	uint8_t event[EVENT_BYTES];

	do {
		virtqueue_kicks_off(queue);
		while ((element = virtqueue_pop(queue))) {
			if (iov_read(element->out, element->out_count, 0, event, EVENT_BYTES) == EVENT_BYTES)
				take_status(input, event);
			virtqueue_push(element, 0);
		}
	} while (virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
	if (takes(input, INPUT_KEY) && device->device.env->input)
		input_set_leds(device->device.env->input, input->leds);
}

/* --- life --- */

static void started(struct virtio_device *device)
{
	struct virtio_input *input = from_virtio(device);

	atomic_store(&input->active, true);
	if (device->device.env->input)
		input_sink_activate(device->device.env->input, &input->sink);
}

static void reset(struct virtio_device *device)
{
	struct virtio_input *input = from_virtio(device);

	if (atomic_exchange(&input->active, false) && device->device.env->input)
		input_sink_deactivate(device->device.env->input, &input->sink);
	input->select = input->subsel = 0;
	pthread_mutex_lock(&input->lock);
	input->ring_head = input->ring_count = 0;
	memset(input->held, 0, sizeof(input->held));
	input->dx = input->dy = 0;
	input->moved_to = false;
	pthread_mutex_unlock(&input->lock);
}

static void loaded(struct virtio_device *device)
{
	struct virtio_input *input = from_virtio(device);

	if (device->started)
		started(device);
	else if (atomic_exchange(&input->active, false) && device->device.env->input)
		input_sink_deactivate(device->device.env->input, &input->sink);
}

static int init(struct virtio_device *device, struct error *err)
{
	struct virtio_input *input = from_virtio(device);
	const struct device_env *env = device->device.env;

	input->model = container_of(device->model, struct model, class);
	if (input->serial && strlen(input->serial) > CONFIG_BYTES - CONFIG_DATA)
		return error_set(err, EINVAL, "serial: at most %u characters", CONFIG_BYTES - CONFIG_DATA);
	input->sink = (struct input_sink){.name = input->model->name,
					  .kinds = input->model->kinds,
					  .event = on_event,
					  .sync = on_sync,
					  .opaque = input};
	if (input->display) {
		input->sink.console = env->display ? display_console_find(env->display, input->display) : NULL;
		if (!input->sink.console)
			return error_set(err, ENOENT, "display=%s: there is no such display device", input->display);
	}
	pthread_mutex_init(&input->lock, NULL);
	input->events = virtio_queue_add(device, QUEUE_SIZE, 0, NULL, handle_events);
	virtio_queue_add(device, QUEUE_SIZE, 0, NULL, handle_status);
	if (env->input)
		input_sink_add(env->input, &input->sink);
	return 0;
}

static void fini(struct virtio_device *device)
{
	struct virtio_input *input = from_virtio(device);

	if (device->device.env->input)
		input_sink_remove(device->device.env->input, &input->sink);
	pthread_mutex_destroy(&input->lock);
}

static int check(const void *staged, struct error *err)
{
	const struct virtio_input *input = staged;
	const int32_t totals[] = {input->dx, input->dy};

	if (input->ring_head >= RING_EVENTS || input->ring_count > RING_EVENTS)
		return error_set(err, EINVAL, "events %u from %u out of range", input->ring_count, input->ring_head);
	for (unsigned i = 0; i < ARRAY_SIZE(totals); i++)
		if (totals[i] < -TOTAL_MAX || totals[i] > TOTAL_MAX)
			return error_set(err, EINVAL, "movement %d out of range", totals[i]);
	return 0;
}

static const struct state_field fields[] = {
	STATE_SUB(virtio_device_state, struct virtio_input, virtio, 1),
	STATE_FIELD(STATE_U8, struct virtio_input, leds),
	STATE_FIELD(STATE_U8, struct virtio_input, select),
	STATE_FIELD(STATE_U8, struct virtio_input, subsel),
	STATE_FIELD_N(STATE_BYTES, struct virtio_input, ring, RING_EVENTS *EVENT_BYTES),
	STATE_FIELD(STATE_U16, struct virtio_input, ring_head),
	STATE_FIELD(STATE_U16, struct virtio_input, ring_count),
	STATE_FIELD_N(STATE_BYTES, struct virtio_input, held, KEY_CODES / 8),
	STATE_FIELD(STATE_U32, struct virtio_input, dx),
	STATE_FIELD(STATE_U32, struct virtio_input, dy),
	STATE_FIELD(STATE_U32, struct virtio_input, x),
	STATE_FIELD(STATE_U32, struct virtio_input, y),
	STATE_FIELD(STATE_BOOL, struct virtio_input, moved_to),
	STATE_END,
};
static const struct state_table state = {
	.name = "virtio-input", .version = 1, .size = sizeof(struct virtio_input), .check = check, .fields = fields};

#define COMMON_PROPERTIES                                                                                              \
	{.name = "serial",                                                                                             \
	 .type = PROPERTY_STRING,                                                                                      \
	 .offset = offsetof(struct virtio_input, serial),                                                              \
	 .help = "serial number that the guest sees"},                                                                 \
		{.name = "display",                                                                                    \
		 .type = PROPERTY_STRING,                                                                              \
		 .offset = offsetof(struct virtio_input, display),                                                     \
		 .help = "id of the display device whose keys and movements it takes; default: all"},                  \
		{.name = "head",                                                                                       \
		 .type = PROPERTY_U32,                                                                                 \
		 .offset = offsetof(struct virtio_input, head),                                                        \
		 .help = "for display=: displays here have one head"},                                                 \
		VIRTIO_PCI_PROPERTIES(struct virtio_input)

static const struct property keyboard_properties[] = {COMMON_PROPERTIES, {.name = NULL}};
static const struct property pointer_properties[] = {
	{.name = "wheel-axis",
	 .type = PROPERTY_BOOL,
	 .offset = offsetof(struct virtio_input, wheel_axis),
	 .fallback = "on",
	 .help = "the wheel is an axis, not only two buttons"},
	COMMON_PROPERTIES,
	{.name = NULL},
};

#define CLASS                                                                                                          \
	{                                                                                                              \
		.name = "virtio-input", .id = VIRTIO_ID_INPUT, .config_size = CONFIG_BYTES, .init = init,              \
		.fini = fini, .config_read = config_read, .config_write = config_write, .started = started,            \
		.reset = reset, .loaded = loaded                                                                       \
	}

static const struct model keyboard = {CLASS, "QEMU Virtio Keyboard", 1, 1, INPUT_BIT(INPUT_KEY)};
static const struct model mouse = {CLASS, "QEMU Virtio Mouse", 2, 2,
				   INPUT_BIT(INPUT_BUTTON) | INPUT_BIT(INPUT_RELATIVE)};
static const struct model tablet = {CLASS, "QEMU Virtio Tablet", 3, 2,
				    INPUT_BIT(INPUT_BUTTON) | INPUT_BIT(INPUT_ABSOLUTE)};

/* There never was a legacy interface. */
VIRTIO_PCI_CLASS_ONE(virtio_keyboard_pci, "virtio-keyboard-pci", "virtio-keyboard", "virtio keyboard",
		     struct virtio_input, keyboard_properties, &state, &keyboard.class, 0x090000,
		     VIRTIO_PCI_NON_TRANSITIONAL);
VIRTIO_PCI_CLASS_ONE(virtio_mouse_pci, "virtio-mouse-pci", "virtio-mouse", "virtio mouse", struct virtio_input,
		     pointer_properties, &state, &mouse.class, 0x090200, VIRTIO_PCI_NON_TRANSITIONAL);
VIRTIO_PCI_CLASS_ONE(virtio_tablet_pci, "virtio-tablet-pci", "virtio-tablet", "virtio tablet", struct virtio_input,
		     pointer_properties, &state, &tablet.class, 0x098000, VIRTIO_PCI_NON_TRANSITIONAL);

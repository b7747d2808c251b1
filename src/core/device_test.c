/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices from text: defaults, globals, options, bus hooks, and what is undone when something fails. */
#include "core/device.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct widget {
	struct device device;
	bool flag;
	uint8_t small;
	uint16_t word;
	uint64_t size;
	char *text;
	int tri;
	uint8_t mac[6];
	void *chardev;
	char *slot; /* the bus' */
};

#define PROP(n, t, f, m)                                                                                               \
	{                                                                                                              \
		.name = #n, .type = t, .offset = offsetof(struct widget, n), .fallback = f, .max = m                   \
	}

static const struct property widget_properties[] = {
	PROP(flag, PROPERTY_BOOL, "on", 0),
	PROP(small, PROPERTY_U8, "3", 9),
	PROP(word, PROPERTY_U16, NULL, 0),
	PROP(size, PROPERTY_SIZE, "2M", GIB),
	PROP(text, PROPERTY_STRING, "hello", 0),
	PROP(tri, PROPERTY_ONOFFAUTO, "auto", 0),
	PROP(mac, PROPERTY_MAC, NULL, 0),
	PROP(chardev, PROPERTY_CHAR, NULL, 0),
	{.name = NULL},
};

static const struct property bus_properties[] = {
	PROP(slot, PROPERTY_STRING, NULL, 0),
	{.name = NULL},
};

static char events[64];
static bool init_fails, attach_fails;
static int init_calls;

static void event(const char *letter)
{
	strcat(events, letter);
}

static int widget_init(struct device *device, struct error *err)
{
	event("I");
	init_calls++;
	return init_fails ? error_set(err, EIO, "no widget today") : 0;
}

static void widget_fini(struct device *device)
{
	event("F");
}

static void widget_reset(struct device *device)
{
	event("R");
}

static int bus_attach(struct device *device, struct error *err)
{
	event("A");
	return attach_fails ? error_set(err, ENOSPC, "bus full") : 0;
}

static void bus_detach(struct device *device)
{
	event("D");
}

static void bus_reset(struct device *device)
{
	event("r");
}

static const struct device_class widget_class = {
	.name = "widget",
	.alias = "gadget",
	.bus = DEVICE_PCI,
	.size = sizeof(struct widget),
	.properties = widget_properties,
	.init = widget_init,
	.reset = widget_reset,
	.fini = widget_fini,
};

static const struct device_class isa_class = {.name = "isa-thing", .bus = DEVICE_ISA, .size = sizeof(struct device)};

static const struct device_bus_ops widget_bus = {bus_properties, bus_attach, bus_detach, bus_reset};

static void *find(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err)
{
	assert_int_equal(type, PROPERTY_CHAR);
	if (!strcmp(id, "there"))
		return opaque;
	error_set(err, ENOENT, "no chardev '%s'", id);
	return NULL;
}

static void released(void *opaque, struct device *user)
{
	event("L");
}

static struct device_env env;

static int setup(void **state)
{
	memset(&env, 0, sizeof(env));
	env.backends = (struct backend_lookup){.find = find, .release = released, .opaque = &env};
	env.bus_ops[DEVICE_PCI] = &widget_bus;
	events[0] = 0;
	init_fails = attach_fails = false;
	init_calls = 0;
	return 0;
}

static struct widget *create(const char *text, const char *globals_text, struct error *err)
{
	struct options options = {0}, globals = {0};
	struct device *device;

	assert_int_equal(options_parse(&options, text, NULL, err), 0);
	if (globals_text)
		assert_int_equal(options_parse(&globals, globals_text, NULL, err), 0);
	device = device_create(&widget_class, &env, &options, &globals, err);
	options_free(&options);
	options_free(&globals);
	return (struct widget *)device;
}

static void defaults_globals_options(void **unused)
{
	struct error err = {0};
	struct widget *w = create("id=w0,word=0x1234,size=3M,slot=5,bus=pci.0,chardev=there,mac=52:54:00:0a:0B:ff",
				  "widget.text=global,gadget.small=7,widget.word=9,other.small=99", &err);

	assert_non_null(w);
	assert_string_equal(w->device.id, "w0");
	assert_string_equal(w->device.bus_name, "pci.0");
	assert_true(w->flag);
	assert_int_equal(w->small, 7);
	assert_int_equal(w->word, 0x1234);
	assert_int_equal(w->size, 3 * MIB);
	assert_string_equal(w->text, "global");
	assert_string_equal(w->slot, "5");
	assert_int_equal(w->tri, -1);
	assert_ptr_equal(w->chardev, &env);
	assert_memory_equal(w->mac, "\x52\x54\x00\x0a\x0b\xff", 6);
	device_reset(&w->device);
	device_destroy(&w->device);
	assert_string_equal(events, "AIrRFDL");
}

static void bad_values_name_the_property(void **unused)
{
	static const struct {
		const char *text, *expect;
	} rows[] = {
		{"small=10", "widget.small"},
		{"word=65536", "widget.word"},
		{"flag=perhaps", "widget.flag"},
		{"tri=x", "none of on, off, auto"},
		{"size=2G", "widget.size"},
		{"mac=52:54:00:0a:0b", "not a MAC address"},
		{"mac=52:54:00:0a:0b:0c:", "not a MAC address"},
		{"mac=52:54:00:0a:0b:0", "not a MAC address"},
		{"chardev=gone", "no chardev 'gone'"},
		{"smal=1", "small"},
		{"slit=1", "slot"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error err = {0};

		events[0] = 0;
		assert_null(create(rows[i].text, NULL, &err));
		if (!strstr(err.msg, rows[i].expect))
			fail_msg("%s: '%s' lacks '%s'", rows[i].text, err.msg, rows[i].expect);
		assert_string_equal(events, "L");
	}
	assert_int_equal(init_calls, 0);
}

static void failures_undo_what_was_done(void **unused)
{
	struct error err = {0};

	init_fails = true;
	assert_null(create("text=a", NULL, &err));
	assert_string_equal(events, "AIDL");
	assert_int_equal(err.code, EIO);
	events[0] = 0;
	attach_fails = true;
	assert_null(create("text=a", NULL, &err));
	assert_string_equal(events, "AL");
}

static void globals_are_marked(void **unused)
{
	struct options globals = {0};
	struct error err = {0};
	struct device *device;

	options_add(&globals, "widget.small", "1");
	options_add(&globals, "widgets.small", "1");
	device = device_create(&widget_class, &env, NULL, &globals, &err);
	assert_non_null(device);
	assert_true(globals.items[0].used);
	assert_false(globals.items[1].used);
	device_destroy(device);
	options_add(&globals, "widget.nothing", "1");
	assert_null(device_create(&widget_class, &env, NULL, &globals, &err));
	assert_non_null(strstr(err.msg, "nothing"));
	options_free(&globals);
}

static void bus_names_without_hooks(void **unused)
{
	struct options options = {0};
	struct error err = {0};
	struct device *device;

	options_add(&options, "bus", "isa.0");
	device = device_create(&isa_class, &env, &options, NULL, &err);
	assert_non_null(device);
	device_destroy(device);
	options_add(&options, "bus", "isa.1");
	assert_null(device_create(&isa_class, &env, &options, NULL, &err));
	assert_non_null(strstr(err.msg, "isa.0"));
	options_free(&options);
}

static void find_by_name_and_alias(void **unused)
{
	const struct device_class *const list[] = {&isa_class, &widget_class, NULL};

	assert_ptr_equal(device_class_find(list, "gadget"), &widget_class);
	assert_ptr_equal(device_class_find(list, "isa-thing"), &isa_class);
	assert_null(device_class_find(list, "isa"));
}

/* The class' own before the bus', each name once. */
static void properties_of_class_and_bus(void **unused)
{
	static const struct property more[] = {
		PROP(text, PROPERTY_BOOL, NULL, 0), PROP(slot, PROPERTY_STRING, NULL, 0), {.name = NULL}};
	const struct device_bus_ops ops = {.properties = more};
	size_t own = 0;

	while (widget_properties[own].name)
		own++;
	for (size_t i = 0; i < own; i++)
		assert_ptr_equal(device_property_at(&widget_class, &ops, i), &widget_properties[i]);
	assert_ptr_equal(device_property_at(&widget_class, &ops, own), &more[1]);
	assert_null(device_property_at(&widget_class, &ops, own + 1));
	assert_null(device_property_at(&widget_class, NULL, own));
	assert_string_equal(property_type_name(more[0].type), "bool");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults_globals_options, setup),
		cmocka_unit_test_setup(bad_values_name_the_property, setup),
		cmocka_unit_test_setup(failures_undo_what_was_done, setup),
		cmocka_unit_test_setup(globals_are_marked, setup),
		cmocka_unit_test_setup(bus_names_without_hooks, setup),
		cmocka_unit_test_setup(find_by_name_and_alias, setup),
		cmocka_unit_test_setup(properties_of_class_and_bus, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

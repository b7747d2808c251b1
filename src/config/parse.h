/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to src/config: the state of a command line while it is read, and the functions that the key table names. */
#ifndef XUNI_CONFIG_PARSE_H
#define XUNI_CONFIG_PARSE_H

#include "config/argv.h"
#include "config/keys.h"

enum { SERIAL_PORTS = 4 };

/* -net nic and -net user: joined at the end, the first of one kind with the first of the other. */
struct legacy_net {
	struct options *items; /* "type" holds what followed -net */
	char **typed;
	size_t count;
};

struct config_parse {
	struct domain_config *config;
	struct config_request *request;
	char typed[256]; /* the option that is looked at, for messages about it later; empty: defaults are added */
	/* What was asked for, so that no default is added. */
	bool has_serial, has_monitor, has_net, has_display, has_accel_key, has_machine_accel;
	unsigned serial_count, monitor_count, debugcon_count;
	struct legacy_net nics, hosts;
	bool has_smp;
	uint64_t max_ram_bytes;
};

/* A known set of words for a value: index of `value`, or an error that names the nearest, or all of them ("unknown interface ..."). */
int choose(const char *value, const char *const *words, const char *what, struct error *err);
/* words: NULL-ended. */
bool is_one_of(const char *word, const char *const *words);
/* Replaces *field. */
void set_string(char **field, const char *value);
/* As above with the value of key, when it is there. */
void take_string(struct options *options, const char *key, char **field);
int take_bool(struct options *options, const char *key, bool *field, struct error *err);
/* A letter, then letters, digits, '-', '.', '_'. */
int check_id(const char *id, struct error *err);
/* Adds an item after its id was found good and new in the list; what is "netdev", "device"... for the message. */
int add_item(struct config_list *list, const char *what, const char *type, const char *id, struct options *options,
	     struct error *err);
/* A copy of parse->typed, or NULL. */
char *typed_now(const struct config_parse *parse);
/* Takes `key` out of options: the caller's, or NULL. */
char *pull(struct options *options, const char *key);
bool is_help(const char *word);
int ask(struct config_parse *parse, enum config_ask what, const char *name);
int not_yet(struct error *err, const char *what);

/* Gives the parameters of one option, however they were written, to its row. */
int key_apply_list(struct config_parse *parse, const struct key *key, struct options *options, struct error *err);
/* Adds defaults and checks what can only be checked when all is known. */
int config_finish(struct config_parse *parse, struct error *err);

/* Old spelling of a character back end ("mon:stdio", "unix:/path,server=on") -> chardev. *id: the name of the chardev
 * to use: label, or what "chardev:ID" says; NULL for "none". */
int chardev_legacy(struct config_parse *parse, const char *text, const char *label, char **id, struct error *err);
void add_monitor(struct domain_config *config, const char *chardev, bool qmp, bool pretty);
int add_serial(struct config_parse *parse, const char *text, struct error *err);
int add_default_drives(struct config_parse *parse, bool cdrom, bool floppy, struct error *err);
int add_drive(struct config_parse *parse, struct options *options, enum drive_interface fallback, struct error *err);
int config_join_legacy_nets(struct config_parse *parse, struct error *err);
int add_nic(struct config_parse *parse, const char *netdev, struct options *options, const char *typed, struct error *err);

key_word_fn word_help, word_version, word_cpu, word_uuid, word_log_items, word_verbose, word_icount, word_enable_kvm;
key_word_fn word_s, word_watchdog_action;
key_word_fn word_machine_off, word_hd, word_fd, word_cdrom, word_serial, word_monitor, word_qmp, word_qmp_pretty, word_debugcon;
key_word_fn word_parallel, word_display, word_curses, word_vga, word_nographic, word_readconfig, word_trace, word_net;
key_word_fn word_firmware_dir, word_pflash;
key_list_fn list_machine, list_accel, list_memory, list_smp, list_name, list_boot, list_rtc, list_action, list_global;
key_list_fn list_drive, list_blockdev, list_device, list_netdev, list_nic, list_chardev, list_mon, list_object;
key_list_fn list_vnc;
key_list_fn list_option_rom, list_smbios, list_fw_cfg, list_msg, list_overcommit;

#endif

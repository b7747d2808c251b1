/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Intel 8255x Fast Ethernet (82557 to 82562) in three parts: i8255x.c (system control block, ports, interrupts, life),
 * i8255x_units.c (command unit and receive unit), i8255x_models.c (the models). Section numbers are those of Intel's
 * "8255x 10/100 Mbps Ethernet Controller Family Open Source Software Developer Manual", revision 1.3. nic.lock guards
 * everything.
 */
#ifndef XUNI_DEVICE_NET_I8255X_H
#define XUNI_DEVICE_NET_I8255X_H

#include "core/state.h"
#include "device/net/eeprom93.h"
#include "device/net/nic.h"
#include "device/pci/pci.h"

/* 6.3: the control and status registers. */
enum i8255x_register {
	SCB_STATUS = 0x00,
	SCB_ACK = 0x01,
	SCB_COMMAND = 0x02,
	SCB_MASK = 0x03,
	SCB_POINTER = 0x04,
	CSR_PORT = 0x08,
	CSR_FLASH = 0x0c,
	CSR_EEPROM = 0x0e,
	CSR_MDI = 0x10,
	CSR_RX_BYTES = 0x14,
	CSR_FLOW = 0x19,
	CSR_GENERAL_STATUS = 0x1d,
	CSR_BYTES = 64,
};

/* 6.3.2: causes, in SCB_ACK. */
enum {
	ACK_CX = 1 << 7,
	ACK_FR = 1 << 6,
	ACK_CNA = 1 << 5,
	ACK_RNR = 1 << 4,
	ACK_MDI = 1 << 3,
	ACK_SWI = 1 << 2,
};

enum { CU_IDLE = 0, CU_SUSPENDED = 1, CU_ACTIVE = 2 };
enum { RU_IDLE = 0, RU_SUSPENDED = 1, RU_NO_RESOURCES = 2, RU_READY = 4 };
enum { I8255X_CONFIG_BYTES = 22, I8255X_COUNTERS = 21 };

/* 6.4.4: in the order of the dump. */
enum {
	COUNT_TX_GOOD = 0,
	COUNT_RX_GOOD = 9,
	COUNT_RX_NO_RESOURCE = 12,
	COUNT_RX_SHORT = 15,
};

/* What the models differ in; their pci_class is behind it. */
struct i8255x_model {
	struct pci_class pci;
	uint8_t counter_bytes; /* of a dump */
	bool extended_tcb;     /* 82558 and later */
};

struct i8255x {
	struct pci_device pci;
	struct nic nic;
	uint8_t csr[CSR_BYTES];
	uint16_t phy[32];
	struct eeprom93 eeprom;
	bool irq_asserted;
	uint8_t cu_state, ru_state;
	uint32_t cu_base, ru_base;     /* gpa */
	uint32_t cu_offset, ru_offset; /* of the next command block and receive frame descriptor */
	uint32_t cu_last;              /* guest-physical, of the command block that the command unit suspended at */
	uint32_t counters_gpa;
	uint32_t counters[I8255X_COUNTERS];
	uint8_t config[I8255X_CONFIG_BYTES];
	uint8_t address[6];
	uint8_t hash[8];
};

static inline struct i8255x *i8255x_of(struct nic *nic)
{
	return (struct i8255x *)((char *)nic - offsetof(struct i8255x, nic));
}

static inline const struct i8255x_model *i8255x_model(const struct i8255x *card)
{
	return card->pci.device.class->bus_class;
}

/* i8255x.c */
void i8255x_raise(struct i8255x *card, uint8_t ack);
int i8255x_init(struct device *device, struct error *err);
void i8255x_reset(struct device *device);
void i8255x_fini(struct device *device);
extern const struct state_table i8255x_state;

/* i8255x_units.c */
void i8255x_units_reset(struct i8255x *card);
void i8255x_cu_command(struct i8255x *card, unsigned command);
void i8255x_ru_command(struct i8255x *card, unsigned command);
enum nic_turn i8255x_transmit(struct nic *nic, struct nic_out *out);
bool i8255x_receive(struct nic *nic, const struct nic_in *in);

#endif

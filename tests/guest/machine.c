/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board as software sees it: PCI configuration by mechanism 1 and BAR sizing, ACPI tables with their checksums,
 * RTC and CMOS, and whether the clocks agree: TSC, PIT, PM timer, HPET, local APIC timer, RTC, kvmclock.
 * PCI 3.0 3.2.2.3, ACPI 6.4 5.2, MC146818 data sheet, IA-PC HPET 1.0a, KVM's cpuid and msr documents.
 */
#include "guest.h"

static u32 pci_read(u32 bus, u32 slot, u32 function, u32 reg)
{
	outl(0xcf8, 0x80000000 | bus << 16 | slot << 11 | function << 8 | (reg & 0xfc));
	return inl(0xcfc);
}

static void pci_write(u32 bus, u32 slot, u32 function, u32 reg, u32 v)
{
	outl(0xcf8, 0x80000000 | bus << 16 | slot << 11 | function << 8 | (reg & 0xfc));
	outl(0xcfc, v);
}

static void pci(void)
{
	u32 slot, reg, functions = 0, bars = 0, bad = 0;

	check_eq("host bridge is an i440FX", pci_read(0, 0, 0, 0), 0x12378086);
	check_eq("class of the host bridge", pci_read(0, 0, 0, 8) >> 16, 0x0600);
	check_eq("ISA bridge is a PIIX3", pci_read(0, 1, 0, 0), 0x70008086);
	check_eq("absent slot reads all ones", pci_read(0, 31, 0, 0), 0xffffffff);
	check_eq("absent bus reads all ones", pci_read(200, 0, 0, 0), 0xffffffff);
	outl(0xcf8, 0x80000000);
	check_eq("CF8 reads back", inl(0xcf8), 0x80000000);
	check_eq("word of the configuration space", inw(0xcfe), 0x1237);
	check_eq("byte of the configuration space", inb(0xcfd), 0x80);
	outl(0xcf8, 0);
	check_eq("no access without the enable bit", inl(0xcfc), 0xffffffff);
	pci_write(0, 0, 0, 0, 0);
	check_eq("the id is read-only", pci_read(0, 0, 0, 0), 0x12378086);
	for (slot = 0; slot < 32; slot++) {
		u32 f;

		for (f = 0; f < 8; f++) {
			if (pci_read(0, slot, f, 0) == 0xffffffff)
				continue;
			functions++;
			if (pci_read(0, slot, f, 0xc) >> 16 & 0x7f)
				continue;
			for (reg = 0x10; reg < 0x28; reg += 4) {
				u32 old = pci_read(0, slot, f, reg), ones, size;
				u16 command = pci_read(0, slot, f, 4);

				pci_write(0, slot, f, 4, command & ~3u);
				pci_write(0, slot, f, reg, 0xffffffff);
				ones = pci_read(0, slot, f, reg);
				pci_write(0, slot, f, reg, old);
				bad += pci_read(0, slot, f, reg) != old;
				pci_write(0, slot, f, 4, command);
				if (!ones)
					continue;
				bars++;
				size = ones & 1 ? -(ones & 0xfffc) & 0xffff : -(ones & ~15u);
				bad += size & (size - 1);
				if (!(ones & 1) && (ones & 6) == 4)
					reg += 4;
			}
		}
	}
	check("functions on bus 0", functions >= 3);
	check("BARs: sizes are powers of two, addresses come back", !bad);
	check("there is a BAR", bars >= 1);
}

static u8 sum(const u8 *p, u32 n)
{
	u8 s = 0;

	while (n--)
		s += *p++;
	return s;
}

static u32 pm_timer_port, hpet_base;

static void table(const u8 *t)
{
	char name[32] = "ACPI checksum of ....";

	memcpy(name + 17, t, 4);
	check(name, sum(t, load32((word)t + 4)) == 0);
	if (!memcmp(t, "FACP", 4)) {
		const u8 *dsdt = (const u8 *)(word)load32((word)t + 40);

		pm_timer_port = load32((word)t + 76);
		check("DSDT", !memcmp(dsdt, "DSDT", 4) && sum(dsdt, load32((word)dsdt + 4)) == 0);
		check("FACS", !load32((word)t + 36) || !memcmp((u8 *)(word)load32((word)t + 36), "FACS", 4));
		check("PM timer is 4 bytes", t[91] == 4);
	}
	if (!memcmp(t, "HPET", 4))
		hpet_base = load64((word)t + 44);
	if (!memcmp(t, "APIC", 4)) {
		const u8 *e = t + 44, *end = t + load32((word)t + 4);
		u32 cpus = 0, ioapics = 0;

		check_eq("MADT: local APIC", load32((word)t + 36), LAPIC);
		for (; e + 2 <= end && e[1]; e += e[1]) {
			cpus += e[0] == 0 && (e[4] & 1);
			ioapics += e[0] == 1 && load32((word)e + 4) == 0xfec00000;
		}
		check_eq("MADT: CPUs", cpus, 1);
		check_eq("MADT: IOAPIC", ioapics, 1);
	}
}

static void acpi(void)
{
	const u8 *p;
	const u8 *rsdt;
	u32 i, n;

	for (p = (const u8 *)0xe0000; p < (const u8 *)0x100000; p += 16)
		if (!memcmp(p, "RSD PTR ", 8) && sum(p, 20) == 0)
			break;
	check("RSDP found", p < (const u8 *)0x100000);
	if (p >= (const u8 *)0x100000)
		return;
	if (p[15] >= 2)
		check("RSDP extended checksum", sum(p, load32((word)p + 20)) == 0);
	rsdt = (const u8 *)(word)load32((word)p + 16);
	check("RSDT", !memcmp(rsdt, "RSDT", 4) && sum(rsdt, load32((word)rsdt + 4)) == 0);
	n = (load32((word)rsdt + 4) - 36) / 4;
	for (i = 0; i < n; i++)
		table((const u8 *)(word)load32((word)rsdt + 36 + 4 * i));
	if (p[15] >= 2 && load64((word)p + 24)) {
		const u8 *xsdt = (const u8 *)load64((word)p + 24);

		check("XSDT", !memcmp(xsdt, "XSDT", 4) && sum(xsdt, load32((word)xsdt + 4)) == 0);
		check_eq("XSDT has as many entries", (load32((word)xsdt + 4) - 36) / 8, n);
	}
}

static u8 cmos(u8 reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static int is_bcd(u8 v, u8 low, u8 high) { return (v & 15) <= 9 && v >> 4 <= 9 && v >= low && v <= high; }

static void rtc(void)
{
	u32 n;

	check_eq("register D: valid RAM and time", cmos(0xd), 0x80);
	check_eq("register A: 32768 Hz, 1024 Hz", cmos(0xa) & 0x7f, 0x26);
	check_eq("register B: 24 hours, BCD", cmos(0xb) & 6, 2);
	for (n = 0; n < 1000000 && (cmos(0xa) & 0x80); n++)
		;
	check("seconds, minutes, hours",
	      is_bcd(cmos(0), 0, 0x59) && is_bcd(cmos(2), 0, 0x59) && is_bcd(cmos(4), 0, 0x23));
	check("day, month, year", is_bcd(cmos(7), 1, 0x31) && is_bcd(cmos(8), 1, 0x12) && is_bcd(cmos(9), 0, 0x99));
	check("century", cmos(0x32) == 0x20 || cmos(0x32) == 0x21);
	outb(0x70, 0x40);
	outb(0x71, 0xa5);
	check_eq("CMOS RAM", cmos(0x40), 0xa5);
	check_eq("memory between 1 and 64 MiB, KiB", cmos(0x30) | cmos(0x31) << 8, 63 * 1024);
	check_eq("memory above 16 MiB, 64 KiB", cmos(0x34) | cmos(0x35) << 8, 48 * 16);
}

/* --- clocks --- */
static volatile struct {
	u32 version, pad;
	u64 tsc, time;
	u32 mul;
	signed char shift;
	u8 flags, pad2[2];
} kvmclock_page __attribute__((aligned(64)));

static u64 kvmclock(void)
{
	u32 version;
	u64 ns;

	do {
		u64 delta;

		version = kvmclock_page.version;
		asm volatile("" ::: "memory");
		delta = rdtsc() - kvmclock_page.tsc;
		if (kvmclock_page.shift >= 0)
			delta <<= kvmclock_page.shift;
		else
			delta >>= -kvmclock_page.shift;
		ns = kvmclock_page.time + (u64)((unsigned __int128)delta * kvmclock_page.mul >> 32);
		asm volatile("" ::: "memory");
	} while ((version & 1) || version != kvmclock_page.version);
	return ns;
}

static void clocks(void)
{
	struct cpuid hypervisor = cpuid(0x40000000, 0);
	u32 has_kvmclock = hypervisor.b == 0x4b4d564b && cpuid(0x40000001, 0).a >> 3 & 1, i, best = 1000000;
	u64 ns_pm = 0, ns_hpet = 0, ns_lapic = 0, ns_kvm = 0, ns_tsc = 0, tsc_khz = 0, period = 0;

	if (hypervisor.a >= 0x40000010)
		tsc_khz = cpuid(0x40000010, 0).a;
	if (hpet_base) {
		period = load64(hpet_base) >> 32; /* femtoseconds */
		check("HPET period", period && period <= 100000000);
		store64(hpet_base + 0x10, load64(hpet_base + 0x10) | 1);
	}
	if (has_kvmclock)
		wrmsr(0x4b564d01, (word)&kvmclock_page | 1);
	lapic_on();
	lapic_write(0x3e0, 0xb);
	lapic_write(0x320, 0x10051);
	/* A busy host may interrupt between two reads: the best of some tries counts. */
	for (i = 0; i < 8 && best > 5; i++) {
		u32 p0, l0, error = 0;
		u64 h0 = 0, t0, k0 = 0, ns[4];
		int n = 0, j;

		lapic_write(0x380, 0xffffffff);
		p0 = inl(pm_timer_port);
		t0 = rdtsc();
		if (has_kvmclock)
			k0 = kvmclock();
		if (hpet_base)
			h0 = load64(hpet_base + 0xf0);
		l0 = lapic_read(0x390);
		delay_us(40000);
		ns_pm = (u64)((inl(pm_timer_port) - p0) & 0xffffff) * 1000000000 / 3579545;
		ns_tsc = rdtsc() - t0;
		if (has_kvmclock)
			ns[n++] = ns_kvm = kvmclock() - k0;
		if (hpet_base)
			ns[n++] = ns_hpet = (load64(hpet_base + 0xf0) - h0) * period / 1000000;
		l0 -= lapic_read(0x390);
		ns_lapic = l0;
		if (tsc_khz)
			ns[n++] = ns_tsc * 1000000 / tsc_khz;
		for (j = 0; j < n; j++) {
			u64 difference = ns[j] > ns_pm ? ns[j] - ns_pm : ns_pm - ns[j];
			u32 permille = difference * 1000 / ns_pm;

			if (permille > error)
				error = permille;
		}
		if (error < best)
			best = error;
	}
	say("pm %d us, hpet %d us, kvmclock %d us, tsc %d kticks, lapic %d kticks, tsc %d kHz\n", (int)(ns_pm / 1000),
	    (int)(ns_hpet / 1000), (int)(ns_kvm / 1000), (int)(ns_tsc / 1000), (int)(ns_lapic / 1000), (int)tsc_khz);
	check("PM timer runs by the PIT", ns_pm >= 39000000);
	check_range("PM timer, HPET, kvmclock and TSC agree to 1 % (per mille)", best, 0, 10);
	check("local APIC timer counts", ns_lapic > 1000);
	if (has_kvmclock) {
		u64 a = kvmclock(), b;
		int backwards = 0;

		for (i = 0; i < 1000; i++, a = b) {
			b = kvmclock();
			backwards += b < a;
		}
		check_eq("kvmclock never goes back", backwards, 0);
	} else {
		skip("kvmclock", "not offered");
	}
}

void guest_main(void)
{
	pci();
	acpi();
	rtc();
	clocks();
}

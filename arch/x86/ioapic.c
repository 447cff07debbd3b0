/*
 * IOAPIC (Intel 82093AA data sheet). Two windows: a register number is written to one, its content
 * goes through the other, so that every access is a pair under the lock. Redirection entries are
 * kept in memory as well: nothing needs to be read back.
 *
 * An entry is programmed high word first, masked, so that the pin never delivers with half of an
 * entry.
 */
#include "ioapic.h"

#include "arch/api/io.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "mm/kmap.h"
#include "sync/spinlock.h"

#define WINDOW_SELECT  0x00
#define WINDOW_DATA    0x10
#define WINDOW_LEN     0x20
#define REG_VERSION    1
#define REG_REDIR(pin) (0x10 + 2 * (pin))

#define REDIR_ACTIVE_LOW (1u << 13)
#define REDIR_LEVEL      (1u << 15)
#define REDIR_MASKED     (1u << 16)

struct ioapic {
	volatile u8 *window; /* [I] */
	u32 gsi_base, pins;  /* [I] */
};

static spinlock_t ioapic_lock = SPINLOCK_INIT("ioapic", RANK_IRQCHIP);
static struct ioapic
	ioapics[ACPI_MAX_IOAPICS];    /* [I] but for the windows' content: [ioapic_lock] */
static u32 nr_ioapics;                /* [I] */
static u32 redir_low[IOAPIC_MAX_GSI]; /* [ioapic_lock] */

static u32 reg_read(struct ioapic *a, u32 reg)
{
	mmio_write32(a->window + WINDOW_SELECT, reg);
	return mmio_read32(a->window + WINDOW_DATA);
}

static void reg_write(struct ioapic *a, u32 reg, u32 v)
{
	mmio_write32(a->window + WINDOW_SELECT, reg);
	mmio_write32(a->window + WINDOW_DATA, v);
}

static struct ioapic *find(u32 gsi)
{
	for (u32 i = 0; i < nr_ioapics; i++)
		if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].pins)
			return &ioapics[i];
	return NULL;
}

bool ioapic_serves(u32 gsi)
{
	return gsi < IOAPIC_MAX_GSI && find(gsi);
}

static void add_ioapic(const struct acpi_ioapic *info)
{
	struct ioapic *a = &ioapics[nr_ioapics];

	a->window = mmio_map(PADDR(info->address), WINDOW_LEN, KMAP_WRITE | KMAP_UNCACHED);
	if (!a->window)
		return;
	u32 version = reg_read(a, REG_VERSION);
	if (version == UINT32_MAX) {
		log_warn("ioapic: nothing at %#lx\n", info->address);
		mmio_unmap((void *)a->window, WINDOW_LEN);
		return;
	}
	a->gsi_base = info->gsi_base;
	a->pins = (version >> 16 & 0xff) + 1;
	if (a->pins > 120) /* more registers than numbers for them */
		a->pins = 120;
	if (a->gsi_base >= IOAPIC_MAX_GSI) {
		log_warn("ioapic: GSIs from %u have no vectors\n", a->gsi_base);
		return;
	}
	a->pins = MIN(a->pins, IOAPIC_MAX_GSI - a->gsi_base);
	nr_ioapics++;
	for (u32 pin = 0; pin < a->pins; pin++) {
		redir_low[a->gsi_base + pin] = REDIR_MASKED;
		reg_write(a, REG_REDIR(pin), REDIR_MASKED);
	}
}

int ioapic_init(const struct acpi_madt *madt)
{
	for (u32 i = 0; i < madt->nr_ioapics; i++)
		add_ioapic(&madt->ioapic[i]);
	return nr_ioapics ? 0 : -ENODEV;
}

void ioapic_route(u32 gsi, u8 vector, bool level, bool active_low, u8 apic_id)
{
	u64 flags = spin_lock_irqsave(&ioapic_lock);
	struct ioapic *a = find(gsi);
	u32 pin = gsi - a->gsi_base;

	redir_low[gsi] = vector | (level ? REDIR_LEVEL : 0) | (active_low ? REDIR_ACTIVE_LOW : 0) |
			 REDIR_MASKED;
	reg_write(a, REG_REDIR(pin), redir_low[gsi]);
	reg_write(a, REG_REDIR(pin) + 1, (u32)apic_id << 24);
	spin_unlock_irqrestore(&ioapic_lock, flags);
}

void ioapic_set_masked(u32 gsi, bool masked)
{
	u64 flags = spin_lock_irqsave(&ioapic_lock);
	struct ioapic *a = find(gsi);

	if (masked)
		redir_low[gsi] |= REDIR_MASKED;
	else
		redir_low[gsi] &= ~REDIR_MASKED;
	reg_write(a, REG_REDIR(gsi - a->gsi_base), redir_low[gsi]);
	spin_unlock_irqrestore(&ioapic_lock, flags);
}

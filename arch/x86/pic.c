/*
 * 8259A (Intel 8259A data sheet). The slave hangs on line 2 of the master. Both run in edge mode
 * with explicit, specific ends of interrupt.
 *
 * A line that goes away between the controller's request and the CPU's acknowledge makes the
 * controller answer with its lowest priority, line 7 (or 15), without setting its in-service bit.
 * Such an interrupt must not be ended at the controller that raised it: that would end another
 * one. A spurious 15 did set the master's in-service bit of line 2, which must be ended.
 *
 * Lock: pic_lock over the mask registers and the multi-port sequences.
 */
#include "pic.h"

#include "arch/api/io.h"
#include "lib/err.h"
#include "sync/spinlock.h"
#include "vectors.h"

#define MASTER_CMD  0x20
#define MASTER_DATA 0x21
#define SLAVE_CMD   0xa0
#define SLAVE_DATA  0xa1

#define ICW1_INIT     0x11 /* edge, cascade, ICW4 follows */
#define ICW4_8086     0x01
#define OCW2_SPECIFIC 0x60 /* end the interrupt of the line in bits 0-2 */
#define OCW3_READ_ISR 0x0b
#define CASCADE_LINE  2

static spinlock_t pic_lock = SPINLOCK_INIT("pic", RANK_IRQCHIP);
static u16 pic_mask_bits = 0xffff; /* [pic_lock] */
static bool pic_found;             /* [I] */

u64 pic_spurious7, pic_spurious15;

static void write_masks(void)
{
	outb(MASTER_DATA, (u8)pic_mask_bits);
	outb(SLAVE_DATA, (u8)(pic_mask_bits >> 8));
}

int pic_init(void)
{
	/* A machine without the chip reads back ones, whatever was written. */
	outb(MASTER_DATA, 0xa5);
	u8 first = inb(MASTER_DATA);
	outb(MASTER_DATA, 0xff);
	if (first != 0xa5 || inb(MASTER_DATA) != 0xff)
		return -ENODEV;

	outb(MASTER_CMD, ICW1_INIT);
	outb(SLAVE_CMD, ICW1_INIT);
	outb(MASTER_DATA, VEC_LEGACY);
	outb(SLAVE_DATA, VEC_LEGACY + 8);
	outb(MASTER_DATA, 1 << CASCADE_LINE);
	outb(SLAVE_DATA, CASCADE_LINE);
	outb(MASTER_DATA, ICW4_8086);
	outb(SLAVE_DATA, ICW4_8086);
	pic_mask_bits = 0xffff;
	write_masks();
	pic_found = true;
	return 0;
}

bool pic_present(void)
{
	return pic_found;
}

void pic_mask(unsigned line)
{
	u64 flags = spin_lock_irqsave(&pic_lock);

	pic_mask_bits |= (u16)(1u << line);
	if ((pic_mask_bits & 0xff00) == 0xff00)
		pic_mask_bits |= 1u << CASCADE_LINE;
	write_masks();
	spin_unlock_irqrestore(&pic_lock, flags);
}

void pic_unmask(unsigned line)
{
	u64 flags = spin_lock_irqsave(&pic_lock);

	pic_mask_bits &= (u16) ~(1u << line);
	if (line >= 8)
		pic_mask_bits &= (u16) ~(1u << CASCADE_LINE);
	write_masks();
	spin_unlock_irqrestore(&pic_lock, flags);
}

static u8 read_isr(u16 port)
{
	outb(port, OCW3_READ_ISR);
	return inb(port);
}

bool pic_accept(unsigned line)
{
	if (line == 7 && !(read_isr(MASTER_CMD) & 0x80)) {
		pic_spurious7++;
		return false;
	}
	if (line == 15 && !(read_isr(SLAVE_CMD) & 0x80)) {
		pic_spurious15++;
		outb(MASTER_CMD, OCW2_SPECIFIC | CASCADE_LINE);
		return false;
	}
	return true;
}

void pic_eoi(unsigned line)
{
	if (line >= 8) {
		outb(SLAVE_CMD, (u8)(OCW2_SPECIFIC | (line - 8)));
		outb(MASTER_CMD, OCW2_SPECIFIC | CASCADE_LINE);
	} else {
		outb(MASTER_CMD, (u8)(OCW2_SPECIFIC | line));
	}
}

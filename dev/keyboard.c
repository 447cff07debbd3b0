/*
 * The PS/2 keyboard behind the 8042 controller (ports 60 and 64), in its translated set 1, on IRQ
 * 1. Emulators and firmware offer USB keyboards the same way until somebody takes the USB
 * controller.
 *
 * Every wait for the controller is bounded: a machine without one reads as ones or never answers.
 * The keyboard's lights are left alone.
 */
#include "dev/keyboard.h"

#include "arch/api/cpu.h"
#include "arch/api/io.h"
#include "dev/irq.h"
#include "dev/keymap.h"
#include "lib/err.h"
#include "lib/kassert.h"

#define KBD_DATA    0x60
#define KBD_STATUS  0x64
#define KBD_COMMAND 0x64
#define KBD_IRQ     1

#define STATUS_OUTPUT 0x01 /* a byte waits at KBD_DATA */
#define STATUS_INPUT  0x02 /* the controller is busy with our last byte */
#define STATUS_MOUSE  0x20 /* the byte is the second port's */

#define COMMAND_READ_CONFIG  0x20
#define COMMAND_WRITE_CONFIG 0x60
#define COMMAND_ENABLE       0xae

#define CONFIG_IRQ       0x01
#define CONFIG_DISABLED  0x10
#define CONFIG_TRANSLATE 0x40

#define WAIT_READS 20000 /* about 20 ms on a real bus */

static struct keymap keymap;                      /* [o] of the interrupt handler */
static void (*input_fn)(const char *s, size_t n); /* [I] */

static bool wait_status(u8 mask, u8 value)
{
	for (u32 i = 0; i < WAIT_READS; i++) {
		if ((inb(KBD_STATUS) & mask) == value)
			return true;
		cpu_relax();
	}
	return false;
}

static bool send(u16 port, u8 v)
{
	if (!wait_status(STATUS_INPUT, 0))
		return false;
	outb(port, v);
	return true;
}

static void drain(void)
{
	for (int i = 0; i < 32 && (inb(KBD_STATUS) & STATUS_OUTPUT); i++)
		inb(KBD_DATA);
}

static bool controller_init(void)
{
	u8 config;

	if (inb(KBD_STATUS) == 0xff)
		return false;
	drain();
	if (!send(KBD_COMMAND, COMMAND_READ_CONFIG) || !wait_status(STATUS_OUTPUT, STATUS_OUTPUT))
		return false;
	config = inb(KBD_DATA);
	config |= CONFIG_IRQ | CONFIG_TRANSLATE;
	config &= (u8)~CONFIG_DISABLED;
	return send(KBD_COMMAND, COMMAND_WRITE_CONFIG) && send(KBD_DATA, config) &&
	       send(KBD_COMMAND, COMMAND_ENABLE);
}

static enum irq_result keyboard_interrupt(void *arg)
{
	enum irq_result result = IRQ_NONE;

	for (int i = 0; i < 32; i++) {
		u8 status = inb(KBD_STATUS), code;
		char text[KEYMAP_MAX];
		size_t n;

		if (!(status & STATUS_OUTPUT))
			break;
		code = inb(KBD_DATA);
		result = IRQ_HANDLED;
		if (status & STATUS_MOUSE)
			continue;
		n = keymap_decode(&keymap, code, text);
		if (n > 0)
			input_fn(text, n);
	}
	return result;
}

int keyboard_init(void (*input)(const char *s, size_t n))
{
	int err;

	kassert(!input_fn);
	if (!controller_init())
		return -ENODEV;
	input_fn = input;
	err = irq_register(KBD_IRQ, "keyboard", keyboard_interrupt, NULL);
	drain(); /* a key pressed before would hold the line up, and no edge would come */
	return err;
}

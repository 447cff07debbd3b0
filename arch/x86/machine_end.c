/*
 * The ends of the machine. Emulators have test devices that end them with a status; they are used
 * only when the command line says so, since their ports mean something else on real hardware:
 *
 *	exit=debug	QEMU's isa-debug-exit at port 0xf4: writing v ends QEMU with status 2v + 1
 *	exit=bochs	Bochs: the letters of "Shutdown" to port 0x8900
 *
 * Otherwise power-off is ACPI's; restart is ACPI's reset register, then the keyboard controller's
 * reset line, then a triple fault. Runs in any context, a panic's too: no locks, no memory.
 */
#include "arch/api/cpu.h"
#include "arch/api/io.h"
#include "lib/cmdline.h"

CMDLINE_OPTION("exit", exit_option, "debug|bochs: end the emulator with a status");

#define DEBUG_EXIT_PORT  0xf4
#define DEBUG_EXIT_OK    0x10 /* status 33 */
#define DEBUG_EXIT_PANIC 0x11 /* status 35 */
#define BOCHS_EXIT_PORT  0x8900
#define COM1_STATUS      0x3fd
#define COM1_IDLE        0x40

#define COM1_LINE_STATUS 0x3fd
#define COM2_LINE_STATUS 0x2fd
#define LINE_EMPTY       0x40

#define KEYBOARD_STATUS     0x64
#define KEYBOARD_INPUT_FULL 0x02
#define KEYBOARD_RESET      0xfe

void (*machine_poweroff_hook)(void);
void (*machine_restart_hook)(void);

static __noreturn void halt_for_ever(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

/* The last lines of the log are still in the UART, which takes its time in Bochs. An absent port
 * reads as ones: empty. */
static void drain_uart(u16 line_status)
{
	for (u32 i = 0; i < 1000000 && !(inb(line_status) & LINE_EMPTY); i++)
		cpu_relax();
}

static void emulator_exit(enum machine_end how)
{
	if (cmdline_is(&exit_option, "debug")) {
		outl(DEBUG_EXIT_PORT, how == MACHINE_PANIC ? DEBUG_EXIT_PANIC : DEBUG_EXIT_OK);
	} else if (cmdline_is(&exit_option, "bochs")) {
		/* It ends at once: the log's last characters must have left the UART. */
		for (u32 i = 0; i < 1000000 && !(inb(COM1_STATUS) & COM1_IDLE); i++)
			cpu_relax();
		for (const char *s = "Shutdown"; *s; s++)
			outb(BOCHS_EXIT_PORT, (u8)*s);
	}
}

static __noreturn void restart(void)
{
	const struct {
		u16 limit;
		u64 base;
	} __packed no_idt = { 0, 0 };

	if (machine_restart_hook)
		machine_restart_hook();
	for (u32 i = 0; i < 10000 && inb(KEYBOARD_STATUS) & KEYBOARD_INPUT_FULL; i++)
		cpu_relax();
	outb(KEYBOARD_STATUS, KEYBOARD_RESET);
	for (u32 i = 0; i < 100000; i++)
		cpu_relax();
	__asm__ volatile("lidt %0; int3" : : "m"(no_idt));
	halt_for_ever();
}

void machine_end(enum machine_end how)
{
	irq_disable();
	drain_uart(COM1_LINE_STATUS);
	drain_uart(COM2_LINE_STATUS);
	emulator_exit(how);
	if (how == MACHINE_RESTART)
		restart();
	if (how == MACHINE_POWEROFF && machine_poweroff_hook)
		machine_poweroff_hook();
	halt_for_ever();
}

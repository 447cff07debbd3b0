/*
 * Which device does what: the log's sinks, the terminals, the console.
 *
 * The log goes to port E9 (the debug console of emulators, found by reading its number back) and to
 * the screen, or where log= says. A sink that is not wanted is there all the same, silent, and
 * speaks in a panic; except a serial port that is a program's standard output (stdio=stream).
 *
 * The devices named by console= form one terminal: output goes to all of them, input comes from
 * all. So one shell can be used on the screen and on the serial line. Its name is the last one's.
 * Each other device is a terminal of its own.
 */
#include "dev/console.h"

#include "arch/api/io.h"
#include "debug/panic.h"
#include "dev/keyboard.h"
#include "dev/screen.h"
#include "dev/stream.h"
#include "dev/tty.h"
#include "dev/uart.h"
#include "lib/cmdline.h"
#include "lib/kassert.h"
#include "lib/string.h"

CMDLINE_OPTION("console", console_option,
	       "ttyS0|ttyS1|tty0|both: the programs' terminal; several are one");
CMDLINE_OPTION("log", log_option, "ttyS0|ttyS1|e9|tty0|none: where the log goes");
CMDLINE_OPTION("quiet", quiet_option,
	       "only warnings and errors of the log on screen and serial line");
CMDLINE_OPTION("loglevel", loglevel_option,
	       "N: log lines of levels below N there (3 error ... 7 debug)");
CMDLINE_OPTION("stdio", stdio_option,
	       "stream: the serial ports are bare byte streams of one program");

#define E9_PORT 0xe9

/* ---- the log -------------------------------------------------------------------------------- */

static void e9_write(const char *s, size_t n)
{
	outsb(E9_PORT, s, n);
}

/* Terminals on a serial line want the carriage back. */
static void uart_log(struct uart *u, const char *s, size_t n)
{
	if (n > 0 && s[n - 1] == '\n') {
		uart_write(u, s, n - 1);
		uart_write(u, "\r\n", 2);
	} else {
		uart_write(u, s, n);
	}
}

static void uart0_log(const char *s, size_t n)
{
	uart_log(&uart_ports[0], s, n);
}

static void uart1_log(const char *s, size_t n)
{
	uart_log(&uart_ports[1], s, n);
}

static struct klog_sink sink_e9 = { .name = "e9", .write = e9_write };
static struct klog_sink sink_uart[UART_PORTS] = {
	{ .name = "ttyS0", .write = uart0_log },
	{ .name = "ttyS1", .write = uart1_log },
};
static struct klog_sink sink_screen = { .name = "tty0", .write = screen_log };

static bool stream_mode(void)
{
	return cmdline_is(&stdio_option, "stream");
}

/* Is the value among the first four given? */
static bool option_has(const struct cmdline_option *o, const char *value)
{
	for (u32 i = 0; i < MIN(o->count, (u32)ARRAY_SIZE(o->all)); i++) {
		if (o->all[i] && strcmp(o->all[i], value) == 0)
			return true;
	}
	return false;
}

static bool log_wanted(const char *name)
{
	if (log_option.count == 0)
		return strcmp(name, "e9") == 0 || strcmp(name, "tty0") == 0;
	return option_has(&log_option, name);
}

/* Lines below this importance stay off screen and serial line; E9 gets all. */
static enum klog_level log_level(void)
{
	u64 below;

	if (quiet_option.count > 0)
		return KLOG_WARN;
	below = cmdline_u64(&loglevel_option, KLOG_INFO + 1);
	return below == 0 ? 0 : (enum klog_level)MIN(below - 1, (u64)KLOG_DEBUG);
}

static void sink_add(struct klog_sink *sink, enum klog_level level)
{
	sink->max_level = level;
	sink->panic_only = !log_wanted(sink->name);
	klog_add_sink(sink);
}

void console_early_init(void)
{
	if (inb(E9_PORT) == E9_PORT)
		sink_add(&sink_e9, KLOG_DEBUG);
	for (unsigned i = 0; i < UART_PORTS; i++) {
		if (!uart_probe(&uart_ports[i]))
			continue;
		if (!stream_mode() || log_wanted(uart_ports[i].name))
			sink_add(&sink_uart[i], log_level());
	}
	panic_flush = console_flush;
}

void console_flush(void)
{
	for (unsigned i = 0; i < UART_PORTS; i++)
		uart_flush(&uart_ports[i]);
}

/* ---- the terminals -------------------------------------------------------------------------- */

static void uart_tty_write(void *dev, const char *s, size_t n)
{
	uart_write(dev, s, n);
}

static bool uart_tty_ready(void *dev)
{
	return uart_ready(dev);
}

static void screen_tty_write(void *dev, const char *s, size_t n)
{
	screen_write(s, n);
}

static size_t screen_tty_answer(void *dev, char *buf, size_t n)
{
	return screen_take_reply(buf, n);
}

static const struct tty_driver tty_drivers[] = {
	{ .name = "ttyS0",
	  .write = uart_tty_write,
	  .ready = uart_tty_ready,
	  .dev = &uart_ports[0] },
	{ .name = "ttyS1",
	  .write = uart_tty_write,
	  .ready = uart_tty_ready,
	  .dev = &uart_ports[1] },
	{ .name = "tty0", .write = screen_tty_write, .answer = screen_tty_answer },
};
static const struct tty_number {
	u8 major, minor;
} tty_numbers[] = { { 4, 64 }, { 4, 65 }, { 4, 0 } };

#define TTY_SCREEN 2
#define TTYS       3

static struct tty *ttys[TTYS]; /* [I] after console_init; several may be the console */

/* The discipline drops what it has no room for, as a terminal does. */
static size_t tty_room(void *arg)
{
	return 256;
}

static void uart_tty_input(void *arg, const char *s, size_t n)
{
	tty_input(arg, s, n);
}

static const struct uart_client tty_client = { .room = tty_room, .input = uart_tty_input };

static void screen_input(const char *s, size_t n)
{
	tty_input(ttys[TTY_SCREEN], s, n);
}

static bool console_wanted(const char *name)
{
	if (option_has(&console_option, name))
		return true;
	return option_has(&console_option, "both") && strcmp(name, "ttyS1") != 0;
}

/* The last console= decides the name; "both" means the screen's. -1: none of them is there. */
static int console_choose(const bool *present)
{
	const char *last = console_option.value;
	int chosen = -1;

	for (int i = 0; i < TTYS; i++) {
		if (!present[i] || !console_wanted(tty_drivers[i].name))
			continue;
		if (chosen < 0 || !last || strcmp(last, "both") == 0 ||
		    strcmp(last, tty_drivers[i].name) == 0)
			chosen = i;
	}
	if (chosen >= 0)
		return chosen;
	if (console_option.count > 0)
		log_warn("console=%s: there is no such device\n", last ? last : "");
	for (int i = 0; i < TTYS; i++) {
		if (present[i])
			return i;
	}
	return -1;
}

static void ttys_create(const bool *present)
{
	int console = console_choose(present);

	for (int i = 0; i < TTYS; i++) {
		if (!present[i] || (i != console && console_wanted(tty_drivers[i].name)))
			continue;
		ttys[i] = tty_register(&tty_drivers[i], tty_numbers[i].major, tty_numbers[i].minor);
	}
	if (console < 0)
		return;
	for (int i = 0; i < TTYS; i++) {
		if (present[i] && !ttys[i]) {
			tty_attach(ttys[console], &tty_drivers[i]);
			ttys[i] = ttys[console];
		}
	}
	tty_set_console(ttys[console]);
}

static void screen_tty_start(void)
{
	u32 columns, rows;
	int err;

	screen_size(&columns, &rows);
	tty_set_size(ttys[TTY_SCREEN], columns, rows);
	err = keyboard_init(screen_input);
	if (err)
		log_info("keyboard: none (error %d)\n", -err);
}

void console_init(void)
{
	bool present[TTYS] = { uart_ports[0].present && !stream_mode(),
			       uart_ports[1].present && !stream_mode(), screen_init() };

	if (present[TTY_SCREEN])
		sink_add(&sink_screen, log_level());
	if (stream_mode())
		stream_init();
	ttys_create(present);
	for (unsigned i = 0; i < UART_PORTS; i++) {
		int err = present[i] ? uart_start(&uart_ports[i], &tty_client, ttys[i]) : 0;

		if (err)
			log_err("%s: no interrupt for its input (error %d)\n", tty_drivers[i].name,
				-err);
	}
	if (present[TTY_SCREEN])
		screen_tty_start();
	log_info("console: %s%s%s\n", tty_console() ? tty_name(tty_console()) : "none",
		 stream_mode() ? ", serial ports are streams" : "",
		 present[TTY_SCREEN] ? ", screen" : "");
}
